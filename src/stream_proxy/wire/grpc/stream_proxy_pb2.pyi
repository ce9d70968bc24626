import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NoticeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOTICE_KIND_UNSPECIFIED: _ClassVar[NoticeKind]
    NOTICE_KIND_GAP: _ClassVar[NoticeKind]
    NOTICE_KIND_SLOW: _ClassVar[NoticeKind]
    NOTICE_KIND_RESUMED: _ClassVar[NoticeKind]
    NOTICE_KIND_POSITION: _ClassVar[NoticeKind]
    NOTICE_KIND_BACK_FILLED: _ClassVar[NoticeKind]

class OrderEvent(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORDER_EVENT_UNSPECIFIED: _ClassVar[OrderEvent]
    ORDER_EVENT_NEW: _ClassVar[OrderEvent]
    ORDER_EVENT_FILL: _ClassVar[OrderEvent]
    ORDER_EVENT_PARTIAL_FILL: _ClassVar[OrderEvent]
    ORDER_EVENT_CANCELED: _ClassVar[OrderEvent]
    ORDER_EVENT_EXPIRED: _ClassVar[OrderEvent]
    ORDER_EVENT_REJECTED: _ClassVar[OrderEvent]
    ORDER_EVENT_PENDING_NEW: _ClassVar[OrderEvent]
    ORDER_EVENT_STOPPED: _ClassVar[OrderEvent]
    ORDER_EVENT_REPLACED: _ClassVar[OrderEvent]
    ORDER_EVENT_SUSPENDED: _ClassVar[OrderEvent]
    ORDER_EVENT_PENDING_CANCEL: _ClassVar[OrderEvent]
    ORDER_EVENT_PENDING_REPLACE: _ClassVar[OrderEvent]
    ORDER_EVENT_CALCULATED: _ClassVar[OrderEvent]
    ORDER_EVENT_DONE_FOR_DAY: _ClassVar[OrderEvent]
    ORDER_EVENT_TRADE_BUST: _ClassVar[OrderEvent]
    ORDER_EVENT_ACCEPTED: _ClassVar[OrderEvent]
    ORDER_EVENT_ORDER_REPLACE_REJECTED: _ClassVar[OrderEvent]
    ORDER_EVENT_ORDER_CANCEL_REJECTED: _ClassVar[OrderEvent]
    ORDER_EVENT_RESTATED: _ClassVar[OrderEvent]
    ORDER_EVENT_HELD: _ClassVar[OrderEvent]
    ORDER_EVENT_PENDING_REVIEW: _ClassVar[OrderEvent]
    ORDER_EVENT_ACCEPTED_FOR_BIDDING: _ClassVar[OrderEvent]
    ORDER_EVENT_TRADE_CORRECT: _ClassVar[OrderEvent]

class AssetClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ASSET_CLASS_UNSPECIFIED: _ClassVar[AssetClass]
    ASSET_CLASS_US_EQUITY: _ClassVar[AssetClass]
    ASSET_CLASS_US_OPTION: _ClassVar[AssetClass]
    ASSET_CLASS_CRYPTO: _ClassVar[AssetClass]

class OrderClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORDER_CLASS_UNSPECIFIED: _ClassVar[OrderClass]
    ORDER_CLASS_SIMPLE: _ClassVar[OrderClass]
    ORDER_CLASS_BRACKET: _ClassVar[OrderClass]
    ORDER_CLASS_OCO: _ClassVar[OrderClass]
    ORDER_CLASS_OTO: _ClassVar[OrderClass]
    ORDER_CLASS_MLEG: _ClassVar[OrderClass]

class OrderType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORDER_TYPE_UNSPECIFIED: _ClassVar[OrderType]
    ORDER_TYPE_LIMIT: _ClassVar[OrderType]
    ORDER_TYPE_MARKET: _ClassVar[OrderType]
    ORDER_TYPE_STOP: _ClassVar[OrderType]
    ORDER_TYPE_STOP_LIMIT: _ClassVar[OrderType]
    ORDER_TYPE_TRAILING_STOP: _ClassVar[OrderType]

class OrderSide(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORDER_SIDE_UNSPECIFIED: _ClassVar[OrderSide]
    ORDER_SIDE_BUY: _ClassVar[OrderSide]
    ORDER_SIDE_SELL: _ClassVar[OrderSide]

class TimeInForce(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIME_IN_FORCE_UNSPECIFIED: _ClassVar[TimeInForce]
    TIME_IN_FORCE_DAY: _ClassVar[TimeInForce]
    TIME_IN_FORCE_GTC: _ClassVar[TimeInForce]
    TIME_IN_FORCE_IOC: _ClassVar[TimeInForce]
    TIME_IN_FORCE_FOK: _ClassVar[TimeInForce]
    TIME_IN_FORCE_OPG: _ClassVar[TimeInForce]
    TIME_IN_FORCE_CLS: _ClassVar[TimeInForce]

class ConnectionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONNECTION_STATE_UNSPECIFIED: _ClassVar[ConnectionState]
    CONNECTION_STATE_DISCONNECTED: _ClassVar[ConnectionState]
    CONNECTION_STATE_CONNECTING: _ClassVar[ConnectionState]
    CONNECTION_STATE_AUTHENTICATING: _ClassVar[ConnectionState]
    CONNECTION_STATE_CONNECTED: _ClassVar[ConnectionState]
    CONNECTION_STATE_RECONNECTING: _ClassVar[ConnectionState]
    CONNECTION_STATE_ERROR: _ClassVar[ConnectionState]

class FeedType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEED_TYPE_UNSPECIFIED: _ClassVar[FeedType]
    FEED_TYPE_SIP: _ClassVar[FeedType]
    FEED_TYPE_IEX: _ClassVar[FeedType]
    FEED_TYPE_OPRA: _ClassVar[FeedType]
    FEED_TYPE_INDICATIVE: _ClassVar[FeedType]
    FEED_TYPE_TRADE_UPDATES: _ClassVar[FeedType]
    FEED_TYPE_DELAYED_SIP: _ClassVar[FeedType]
    FEED_TYPE_OTC: _ClassVar[FeedType]
    FEED_TYPE_BOATS: _ClassVar[FeedType]
    FEED_TYPE_OVERNIGHT: _ClassVar[FeedType]
    FEED_TYPE_TEST: _ClassVar[FeedType]
    FEED_TYPE_CRYPTO: _ClassVar[FeedType]
    FEED_TYPE_NEWS: _ClassVar[FeedType]

class Environment(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENVIRONMENT_UNSPECIFIED: _ClassVar[Environment]
    ENVIRONMENT_PAPER: _ClassVar[Environment]
    ENVIRONMENT_LIVE: _ClassVar[Environment]
NOTICE_KIND_UNSPECIFIED: NoticeKind
NOTICE_KIND_GAP: NoticeKind
NOTICE_KIND_SLOW: NoticeKind
NOTICE_KIND_RESUMED: NoticeKind
NOTICE_KIND_POSITION: NoticeKind
NOTICE_KIND_BACK_FILLED: NoticeKind
ORDER_EVENT_UNSPECIFIED: OrderEvent
ORDER_EVENT_NEW: OrderEvent
ORDER_EVENT_FILL: OrderEvent
ORDER_EVENT_PARTIAL_FILL: OrderEvent
ORDER_EVENT_CANCELED: OrderEvent
ORDER_EVENT_EXPIRED: OrderEvent
ORDER_EVENT_REJECTED: OrderEvent
ORDER_EVENT_PENDING_NEW: OrderEvent
ORDER_EVENT_STOPPED: OrderEvent
ORDER_EVENT_REPLACED: OrderEvent
ORDER_EVENT_SUSPENDED: OrderEvent
ORDER_EVENT_PENDING_CANCEL: OrderEvent
ORDER_EVENT_PENDING_REPLACE: OrderEvent
ORDER_EVENT_CALCULATED: OrderEvent
ORDER_EVENT_DONE_FOR_DAY: OrderEvent
ORDER_EVENT_TRADE_BUST: OrderEvent
ORDER_EVENT_ACCEPTED: OrderEvent
ORDER_EVENT_ORDER_REPLACE_REJECTED: OrderEvent
ORDER_EVENT_ORDER_CANCEL_REJECTED: OrderEvent
ORDER_EVENT_RESTATED: OrderEvent
ORDER_EVENT_HELD: OrderEvent
ORDER_EVENT_PENDING_REVIEW: OrderEvent
ORDER_EVENT_ACCEPTED_FOR_BIDDING: OrderEvent
ORDER_EVENT_TRADE_CORRECT: OrderEvent
ASSET_CLASS_UNSPECIFIED: AssetClass
ASSET_CLASS_US_EQUITY: AssetClass
ASSET_CLASS_US_OPTION: AssetClass
ASSET_CLASS_CRYPTO: AssetClass
ORDER_CLASS_UNSPECIFIED: OrderClass
ORDER_CLASS_SIMPLE: OrderClass
ORDER_CLASS_BRACKET: OrderClass
ORDER_CLASS_OCO: OrderClass
ORDER_CLASS_OTO: OrderClass
ORDER_CLASS_MLEG: OrderClass
ORDER_TYPE_UNSPECIFIED: OrderType
ORDER_TYPE_LIMIT: OrderType
ORDER_TYPE_MARKET: OrderType
ORDER_TYPE_STOP: OrderType
ORDER_TYPE_STOP_LIMIT: OrderType
ORDER_TYPE_TRAILING_STOP: OrderType
ORDER_SIDE_UNSPECIFIED: OrderSide
ORDER_SIDE_BUY: OrderSide
ORDER_SIDE_SELL: OrderSide
TIME_IN_FORCE_UNSPECIFIED: TimeInForce
TIME_IN_FORCE_DAY: TimeInForce
TIME_IN_FORCE_GTC: TimeInForce
TIME_IN_FORCE_IOC: TimeInForce
TIME_IN_FORCE_FOK: TimeInForce
TIME_IN_FORCE_OPG: TimeInForce
TIME_IN_FORCE_CLS: TimeInForce
CONNECTION_STATE_UNSPECIFIED: ConnectionState
CONNECTION_STATE_DISCONNECTED: ConnectionState
CONNECTION_STATE_CONNECTING: ConnectionState
CONNECTION_STATE_AUTHENTICATING: ConnectionState
CONNECTION_STATE_CONNECTED: ConnectionState
CONNECTION_STATE_RECONNECTING: ConnectionState
CONNECTION_STATE_ERROR: ConnectionState
FEED_TYPE_UNSPECIFIED: FeedType
FEED_TYPE_SIP: FeedType
FEED_TYPE_IEX: FeedType
FEED_TYPE_OPRA: FeedType
FEED_TYPE_INDICATIVE: FeedType
FEED_TYPE_TRADE_UPDATES: FeedType
FEED_TYPE_DELAYED_SIP: FeedType
FEED_TYPE_OTC: FeedType
FEED_TYPE_BOATS: FeedType
FEED_TYPE_OVERNIGHT: FeedType
FEED_TYPE_TEST: FeedType
FEED_TYPE_CRYPTO: FeedType
FEED_TYPE_NEWS: FeedType
ENVIRONMENT_UNSPECIFIED: Environment
ENVIRONMENT_PAPER: Environment
ENVIRONMENT_LIVE: Environment

class StreamQuotesRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamQuotesResponse(_message.Message):
    __slots__ = ("quote", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    QUOTE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    quote: StockQuote
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, quote: _Optional[_Union[StockQuote, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamTradesRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamTradesResponse(_message.Message):
    __slots__ = ("trade", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    TRADE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    trade: StockTrade
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, trade: _Optional[_Union[StockTrade, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamBarsRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamBarsResponse(_message.Message):
    __slots__ = ("bar", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    BAR_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    bar: StockBar
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, bar: _Optional[_Union[StockBar, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamOptionQuotesRequest(_message.Message):
    __slots__ = ("symbols", "underlyings", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    UNDERLYINGS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    underlyings: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., underlyings: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamOptionQuotesResponse(_message.Message):
    __slots__ = ("quote", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    QUOTE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    quote: OptionQuoteUpdate
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, quote: _Optional[_Union[OptionQuoteUpdate, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamOptionTradesRequest(_message.Message):
    __slots__ = ("symbols", "underlyings", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    UNDERLYINGS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    underlyings: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., underlyings: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamOptionTradesResponse(_message.Message):
    __slots__ = ("trade", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    TRADE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    trade: OptionTrade
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, trade: _Optional[_Union[OptionTrade, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamUpdatedBarsRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamUpdatedBarsResponse(_message.Message):
    __slots__ = ("bar", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    BAR_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    bar: StockBar
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, bar: _Optional[_Union[StockBar, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamDailyBarsRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamDailyBarsResponse(_message.Message):
    __slots__ = ("bar", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    BAR_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    bar: StockBar
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, bar: _Optional[_Union[StockBar, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamStatusesRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamStatusesResponse(_message.Message):
    __slots__ = ("status", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    status: TradingStatus
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, status: _Optional[_Union[TradingStatus, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamLuldsRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamLuldsResponse(_message.Message):
    __slots__ = ("luld", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    LULD_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    luld: PriceBand
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, luld: _Optional[_Union[PriceBand, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamCorrectionsRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamCorrectionsResponse(_message.Message):
    __slots__ = ("correction", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    correction: TradeCorrection
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, correction: _Optional[_Union[TradeCorrection, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamCancelErrorsRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamCancelErrorsResponse(_message.Message):
    __slots__ = ("cancel_error", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    CANCEL_ERROR_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    cancel_error: TradeCancelError
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, cancel_error: _Optional[_Union[TradeCancelError, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamImbalancesRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamImbalancesResponse(_message.Message):
    __slots__ = ("imbalance", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    IMBALANCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    imbalance: OrderImbalance
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, imbalance: _Optional[_Union[OrderImbalance, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamCryptoQuotesRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamCryptoQuotesResponse(_message.Message):
    __slots__ = ("quote", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    QUOTE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    quote: CryptoQuote
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, quote: _Optional[_Union[CryptoQuote, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamCryptoTradesRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamCryptoTradesResponse(_message.Message):
    __slots__ = ("trade", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    TRADE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    trade: CryptoTrade
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, trade: _Optional[_Union[CryptoTrade, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamCryptoBarsRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamCryptoBarsResponse(_message.Message):
    __slots__ = ("bar", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    BAR_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    bar: CryptoBar
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, bar: _Optional[_Union[CryptoBar, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamCryptoUpdatedBarsRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamCryptoUpdatedBarsResponse(_message.Message):
    __slots__ = ("bar", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    BAR_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    bar: CryptoBar
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, bar: _Optional[_Union[CryptoBar, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamCryptoDailyBarsRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamCryptoDailyBarsResponse(_message.Message):
    __slots__ = ("bar", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    BAR_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    bar: CryptoBar
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, bar: _Optional[_Union[CryptoBar, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamCryptoOrderBooksRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamCryptoOrderBooksResponse(_message.Message):
    __slots__ = ("order_book", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    ORDER_BOOK_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    order_book: CryptoOrderBook
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, order_book: _Optional[_Union[CryptoOrderBook, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamNewsRequest(_message.Message):
    __slots__ = ("symbols", "notices", "feed", "slow_policy", "resume")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FEED_FIELD_NUMBER: _ClassVar[int]
    SLOW_POLICY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    feed: str
    slow_policy: str
    resume: str
    def __init__(self, symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., feed: _Optional[str] = ..., slow_policy: _Optional[str] = ..., resume: _Optional[str] = ...) -> None: ...

class StreamNewsResponse(_message.Message):
    __slots__ = ("article", "sequence", "epoch", "received_at", "source", "back_filled", "notice")
    ARTICLE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    article: NewsArticle
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    def __init__(self, article: _Optional[_Union[NewsArticle, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class StreamOrderUpdatesRequest(_message.Message):
    __slots__ = ("order_ids", "symbols", "notices", "account", "cursor", "since", "from_sequence", "epoch")
    ORDER_IDS_FIELD_NUMBER: _ClassVar[int]
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    order_ids: _containers.RepeatedScalarFieldContainer[str]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    notices: bool
    account: str
    cursor: str
    since: str
    from_sequence: int
    epoch: str
    def __init__(self, order_ids: _Optional[_Iterable[str]] = ..., symbols: _Optional[_Iterable[str]] = ..., notices: _Optional[bool] = ..., account: _Optional[str] = ..., cursor: _Optional[str] = ..., since: _Optional[str] = ..., from_sequence: _Optional[int] = ..., epoch: _Optional[str] = ...) -> None: ...

class StreamOrderUpdatesResponse(_message.Message):
    __slots__ = ("update", "sequence", "epoch", "received_at", "source", "back_filled", "notice", "account", "reconstructed")
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    BACK_FILLED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    RECONSTRUCTED_FIELD_NUMBER: _ClassVar[int]
    update: OrderUpdate
    sequence: int
    epoch: str
    received_at: _timestamp_pb2.Timestamp
    source: str
    back_filled: bool
    notice: Notice
    account: str
    reconstructed: bool
    def __init__(self, update: _Optional[_Union[OrderUpdate, _Mapping]] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., back_filled: _Optional[bool] = ..., notice: _Optional[_Union[Notice, _Mapping]] = ..., account: _Optional[str] = ..., reconstructed: _Optional[bool] = ...) -> None: ...

class GetConnectionStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetConnectionStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: ConnectionStatus
    def __init__(self, status: _Optional[_Union[ConnectionStatus, _Mapping]] = ...) -> None: ...

class AcknowledgeOrderUpdatesRequest(_message.Message):
    __slots__ = ("account", "cursor", "sequence", "epoch")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    account: str
    cursor: str
    sequence: int
    epoch: str
    def __init__(self, account: _Optional[str] = ..., cursor: _Optional[str] = ..., sequence: _Optional[int] = ..., epoch: _Optional[str] = ...) -> None: ...

class AcknowledgeOrderUpdatesResponse(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class Notice(_message.Message):
    __slots__ = ("kind", "text", "since", "until", "messages_lost", "epoch", "sequence", "gap", "symbols", "filled")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_LOST_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    FILLED_FIELD_NUMBER: _ClassVar[int]
    kind: NoticeKind
    text: str
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    messages_lost: int
    epoch: str
    sequence: int
    gap: int
    symbols: _containers.RepeatedScalarFieldContainer[str]
    filled: bool
    def __init__(self, kind: _Optional[_Union[NoticeKind, str]] = ..., text: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., messages_lost: _Optional[int] = ..., epoch: _Optional[str] = ..., sequence: _Optional[int] = ..., gap: _Optional[int] = ..., symbols: _Optional[_Iterable[str]] = ..., filled: _Optional[bool] = ...) -> None: ...

class StockQuote(_message.Message):
    __slots__ = ("symbol", "timestamp", "bid_exchange", "bid_price", "bid_size", "ask_exchange", "ask_price", "ask_size", "conditions", "tape", "bid_size_exact", "ask_size_exact")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    BID_EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    BID_PRICE_FIELD_NUMBER: _ClassVar[int]
    BID_SIZE_FIELD_NUMBER: _ClassVar[int]
    ASK_EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    ASK_PRICE_FIELD_NUMBER: _ClassVar[int]
    ASK_SIZE_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    TAPE_FIELD_NUMBER: _ClassVar[int]
    BID_SIZE_EXACT_FIELD_NUMBER: _ClassVar[int]
    ASK_SIZE_EXACT_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    bid_exchange: str
    bid_price: float
    bid_size: int
    ask_exchange: str
    ask_price: float
    ask_size: int
    conditions: _containers.RepeatedScalarFieldContainer[str]
    tape: str
    bid_size_exact: float
    ask_size_exact: float
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bid_exchange: _Optional[str] = ..., bid_price: _Optional[float] = ..., bid_size: _Optional[int] = ..., ask_exchange: _Optional[str] = ..., ask_price: _Optional[float] = ..., ask_size: _Optional[int] = ..., conditions: _Optional[_Iterable[str]] = ..., tape: _Optional[str] = ..., bid_size_exact: _Optional[float] = ..., ask_size_exact: _Optional[float] = ...) -> None: ...

class StockTrade(_message.Message):
    __slots__ = ("symbol", "timestamp", "trade_id", "exchange", "price", "size", "conditions", "tape", "size_exact")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    TRADE_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    TAPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_EXACT_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    trade_id: int
    exchange: str
    price: float
    size: int
    conditions: _containers.RepeatedScalarFieldContainer[str]
    tape: str
    size_exact: float
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trade_id: _Optional[int] = ..., exchange: _Optional[str] = ..., price: _Optional[float] = ..., size: _Optional[int] = ..., conditions: _Optional[_Iterable[str]] = ..., tape: _Optional[str] = ..., size_exact: _Optional[float] = ...) -> None: ...

class StockBar(_message.Message):
    __slots__ = ("symbol", "timestamp", "open", "high", "low", "close", "volume", "vwap", "trade_count", "volume_exact")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    VWAP_FIELD_NUMBER: _ClassVar[int]
    TRADE_COUNT_FIELD_NUMBER: _ClassVar[int]
    VOLUME_EXACT_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    open: float
    high: float
    low: float
    close: float
    volume: int
    vwap: float
    trade_count: int
    volume_exact: float
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., open: _Optional[float] = ..., high: _Optional[float] = ..., low: _Optional[float] = ..., close: _Optional[float] = ..., volume: _Optional[int] = ..., vwap: _Optional[float] = ..., trade_count: _Optional[int] = ..., volume_exact: _Optional[float] = ...) -> None: ...

class OptionQuoteUpdate(_message.Message):
    __slots__ = ("symbol", "timestamp", "bid_exchange", "bid_price", "bid_size", "ask_exchange", "ask_price", "ask_size", "condition", "bid_size_exact", "ask_size_exact")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    BID_EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    BID_PRICE_FIELD_NUMBER: _ClassVar[int]
    BID_SIZE_FIELD_NUMBER: _ClassVar[int]
    ASK_EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    ASK_PRICE_FIELD_NUMBER: _ClassVar[int]
    ASK_SIZE_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    BID_SIZE_EXACT_FIELD_NUMBER: _ClassVar[int]
    ASK_SIZE_EXACT_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    bid_exchange: str
    bid_price: float
    bid_size: int
    ask_exchange: str
    ask_price: float
    ask_size: int
    condition: str
    bid_size_exact: float
    ask_size_exact: float
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bid_exchange: _Optional[str] = ..., bid_price: _Optional[float] = ..., bid_size: _Optional[int] = ..., ask_exchange: _Optional[str] = ..., ask_price: _Optional[float] = ..., ask_size: _Optional[int] = ..., condition: _Optional[str] = ..., bid_size_exact: _Optional[float] = ..., ask_size_exact: _Optional[float] = ...) -> None: ...

class OptionTrade(_message.Message):
    __slots__ = ("symbol", "timestamp", "price", "size", "exchange", "condition", "size_exact")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    SIZE_EXACT_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    price: float
    size: int
    exchange: str
    condition: str
    size_exact: float
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., price: _Optional[float] = ..., size: _Optional[int] = ..., exchange: _Optional[str] = ..., condition: _Optional[str] = ..., size_exact: _Optional[float] = ...) -> None: ...

class TradingStatus(_message.Message):
    __slots__ = ("symbol", "timestamp", "status_code", "status_message", "reason_code", "reason_message", "tape")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    STATUS_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TAPE_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    status_code: str
    status_message: str
    reason_code: str
    reason_message: str
    tape: str
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., status_code: _Optional[str] = ..., status_message: _Optional[str] = ..., reason_code: _Optional[str] = ..., reason_message: _Optional[str] = ..., tape: _Optional[str] = ...) -> None: ...

class PriceBand(_message.Message):
    __slots__ = ("symbol", "timestamp", "limit_up", "limit_down", "indicator", "tape")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    LIMIT_UP_FIELD_NUMBER: _ClassVar[int]
    LIMIT_DOWN_FIELD_NUMBER: _ClassVar[int]
    INDICATOR_FIELD_NUMBER: _ClassVar[int]
    TAPE_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    limit_up: float
    limit_down: float
    indicator: str
    tape: str
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., limit_up: _Optional[float] = ..., limit_down: _Optional[float] = ..., indicator: _Optional[str] = ..., tape: _Optional[str] = ...) -> None: ...

class TradeCorrection(_message.Message):
    __slots__ = ("symbol", "timestamp", "exchange", "original_trade_id", "original_price", "original_size", "original_conditions", "corrected_trade_id", "corrected_price", "corrected_size", "corrected_conditions", "tape")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_TRADE_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_PRICE_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    CORRECTED_TRADE_ID_FIELD_NUMBER: _ClassVar[int]
    CORRECTED_PRICE_FIELD_NUMBER: _ClassVar[int]
    CORRECTED_SIZE_FIELD_NUMBER: _ClassVar[int]
    CORRECTED_CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    TAPE_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    exchange: str
    original_trade_id: int
    original_price: float
    original_size: float
    original_conditions: _containers.RepeatedScalarFieldContainer[str]
    corrected_trade_id: int
    corrected_price: float
    corrected_size: float
    corrected_conditions: _containers.RepeatedScalarFieldContainer[str]
    tape: str
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., exchange: _Optional[str] = ..., original_trade_id: _Optional[int] = ..., original_price: _Optional[float] = ..., original_size: _Optional[float] = ..., original_conditions: _Optional[_Iterable[str]] = ..., corrected_trade_id: _Optional[int] = ..., corrected_price: _Optional[float] = ..., corrected_size: _Optional[float] = ..., corrected_conditions: _Optional[_Iterable[str]] = ..., tape: _Optional[str] = ...) -> None: ...

class TradeCancelError(_message.Message):
    __slots__ = ("symbol", "timestamp", "trade_id", "exchange", "price", "size", "action", "tape")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    TRADE_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TAPE_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    trade_id: int
    exchange: str
    price: float
    size: float
    action: str
    tape: str
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trade_id: _Optional[int] = ..., exchange: _Optional[str] = ..., price: _Optional[float] = ..., size: _Optional[float] = ..., action: _Optional[str] = ..., tape: _Optional[str] = ...) -> None: ...

class OrderImbalance(_message.Message):
    __slots__ = ("symbol", "timestamp", "price", "tape")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    TAPE_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    price: float
    tape: str
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., price: _Optional[float] = ..., tape: _Optional[str] = ...) -> None: ...

class CryptoQuote(_message.Message):
    __slots__ = ("symbol", "timestamp", "bid_price", "bid_size", "ask_price", "ask_size")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    BID_PRICE_FIELD_NUMBER: _ClassVar[int]
    BID_SIZE_FIELD_NUMBER: _ClassVar[int]
    ASK_PRICE_FIELD_NUMBER: _ClassVar[int]
    ASK_SIZE_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    bid_price: float
    bid_size: float
    ask_price: float
    ask_size: float
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bid_price: _Optional[float] = ..., bid_size: _Optional[float] = ..., ask_price: _Optional[float] = ..., ask_size: _Optional[float] = ...) -> None: ...

class CryptoTrade(_message.Message):
    __slots__ = ("symbol", "timestamp", "trade_id", "price", "size", "taker_side")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    TRADE_ID_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TAKER_SIDE_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    trade_id: int
    price: float
    size: float
    taker_side: str
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trade_id: _Optional[int] = ..., price: _Optional[float] = ..., size: _Optional[float] = ..., taker_side: _Optional[str] = ...) -> None: ...

class CryptoBar(_message.Message):
    __slots__ = ("symbol", "timestamp", "open", "high", "low", "close", "volume", "vwap", "trade_count")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    VWAP_FIELD_NUMBER: _ClassVar[int]
    TRADE_COUNT_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float
    trade_count: int
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., open: _Optional[float] = ..., high: _Optional[float] = ..., low: _Optional[float] = ..., close: _Optional[float] = ..., volume: _Optional[float] = ..., vwap: _Optional[float] = ..., trade_count: _Optional[int] = ...) -> None: ...

class CryptoOrderBook(_message.Message):
    __slots__ = ("symbol", "timestamp", "bids", "asks", "reset")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    BIDS_FIELD_NUMBER: _ClassVar[int]
    ASKS_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    timestamp: _timestamp_pb2.Timestamp
    bids: _containers.RepeatedCompositeFieldContainer[PriceLevel]
    asks: _containers.RepeatedCompositeFieldContainer[PriceLevel]
    reset: bool
    def __init__(self, symbol: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bids: _Optional[_Iterable[_Union[PriceLevel, _Mapping]]] = ..., asks: _Optional[_Iterable[_Union[PriceLevel, _Mapping]]] = ..., reset: _Optional[bool] = ...) -> None: ...

class PriceLevel(_message.Message):
    __slots__ = ("price", "size")
    PRICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    price: float
    size: float
    def __init__(self, price: _Optional[float] = ..., size: _Optional[float] = ...) -> None: ...

class NewsArticle(_message.Message):
    __slots__ = ("id", "headline", "summary", "author", "created_at", "updated_at", "url", "content", "symbols", "source")
    ID_FIELD_NUMBER: _ClassVar[int]
    HEADLINE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    id: int
    headline: str
    summary: str
    author: str
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    url: str
    content: str
    symbols: _containers.RepeatedScalarFieldContainer[str]
    source: str
    def __init__(self, id: _Optional[int] = ..., headline: _Optional[str] = ..., summary: _Optional[str] = ..., author: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., url: _Optional[str] = ..., content: _Optional[str] = ..., symbols: _Optional[_Iterable[str]] = ..., source: _Optional[str] = ...) -> None: ...

class OrderUpdate(_message.Message):
    __slots__ = ("event", "event_id", "timestamp", "order", "execution_id", "price", "qty", "position_qty", "event_name", "at", "position_qtys", "leg_executions")
    class PositionQtysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EVENT_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    QTY_FIELD_NUMBER: _ClassVar[int]
    POSITION_QTY_FIELD_NUMBER: _ClassVar[int]
    EVENT_NAME_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    POSITION_QTYS_FIELD_NUMBER: _ClassVar[int]
    LEG_EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    event: OrderEvent
    event_id: str
    timestamp: _timestamp_pb2.Timestamp
    order: OrderDetails
    execution_id: str
    price: str
    qty: str
    position_qty: str
    event_name: str
    at: _timestamp_pb2.Timestamp
    position_qtys: _containers.ScalarMap[str, str]
    leg_executions: _containers.RepeatedCompositeFieldContainer[LegExecution]
    def __init__(self, event: _Optional[_Union[OrderEvent, str]] = ..., event_id: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., order: _Optional[_Union[OrderDetails, _Mapping]] = ..., execution_id: _Optional[str] = ..., price: _Optional[str] = ..., qty: _Optional[str] = ..., position_qty: _Optional[str] = ..., event_name: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., position_qtys: _Optional[_Mapping[str, str]] = ..., leg_executions: _Optional[_Iterable[_Union[LegExecution, _Mapping]]] = ...) -> None: ...

class LegExecution(_message.Message):
    __slots__ = ("execution_id", "order_id", "symbol", "qty", "price", "timestamp")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    QTY_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    order_id: str
    symbol: str
    qty: str
    price: str
    timestamp: _timestamp_pb2.Timestamp
    def __init__(self, execution_id: _Optional[str] = ..., order_id: _Optional[str] = ..., symbol: _Optional[str] = ..., qty: _Optional[str] = ..., price: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OrderDetails(_message.Message):
    __slots__ = ("id", "client_order_id", "symbol", "asset_class", "order_class", "order_type", "side", "time_in_force", "qty", "filled_qty", "filled_avg_price", "limit_price", "stop_price", "status", "extended_hours", "created_at", "updated_at", "submitted_at", "filled_at", "canceled_at", "expired_at", "failed_at", "legs", "commission", "asset_class_name", "order_class_name", "order_type_name", "side_name", "time_in_force_name", "asset_id", "notional", "position_intent", "trail_percent", "trail_price", "hwm", "ratio_qty", "replaced_by", "replaces", "replaced_at", "cancel_requested_at", "expires_at", "leg_details")
    ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    ASSET_CLASS_FIELD_NUMBER: _ClassVar[int]
    ORDER_CLASS_FIELD_NUMBER: _ClassVar[int]
    ORDER_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    TIME_IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    QTY_FIELD_NUMBER: _ClassVar[int]
    FILLED_QTY_FIELD_NUMBER: _ClassVar[int]
    FILLED_AVG_PRICE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_PRICE_FIELD_NUMBER: _ClassVar[int]
    STOP_PRICE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EXTENDED_HOURS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    FILLED_AT_FIELD_NUMBER: _ClassVar[int]
    CANCELED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_AT_FIELD_NUMBER: _ClassVar[int]
    FAILED_AT_FIELD_NUMBER: _ClassVar[int]
    LEGS_FIELD_NUMBER: _ClassVar[int]
    COMMISSION_FIELD_NUMBER: _ClassVar[int]
    ASSET_CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    ORDER_CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    ORDER_TYPE_NAME_FIELD_NUMBER: _ClassVar[int]
    SIDE_NAME_FIELD_NUMBER: _ClassVar[int]
    TIME_IN_FORCE_NAME_FIELD_NUMBER: _ClassVar[int]
    ASSET_ID_FIELD_NUMBER: _ClassVar[int]
    NOTIONAL_FIELD_NUMBER: _ClassVar[int]
    POSITION_INTENT_FIELD_NUMBER: _ClassVar[int]
    TRAIL_PERCENT_FIELD_NUMBER: _ClassVar[int]
    TRAIL_PRICE_FIELD_NUMBER: _ClassVar[int]
    HWM_FIELD_NUMBER: _ClassVar[int]
    RATIO_QTY_FIELD_NUMBER: _ClassVar[int]
    REPLACED_BY_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    REPLACED_AT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    LEG_DETAILS_FIELD_NUMBER: _ClassVar[int]
    id: str
    client_order_id: str
    symbol: str
    asset_class: AssetClass
    order_class: OrderClass
    order_type: OrderType
    side: OrderSide
    time_in_force: TimeInForce
    qty: str
    filled_qty: str
    filled_avg_price: str
    limit_price: str
    stop_price: str
    status: str
    extended_hours: bool
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    submitted_at: _timestamp_pb2.Timestamp
    filled_at: _timestamp_pb2.Timestamp
    canceled_at: _timestamp_pb2.Timestamp
    expired_at: _timestamp_pb2.Timestamp
    failed_at: _timestamp_pb2.Timestamp
    legs: _containers.RepeatedCompositeFieldContainer[OrderUpdateLeg]
    commission: str
    asset_class_name: str
    order_class_name: str
    order_type_name: str
    side_name: str
    time_in_force_name: str
    asset_id: str
    notional: str
    position_intent: str
    trail_percent: str
    trail_price: str
    hwm: str
    ratio_qty: str
    replaced_by: str
    replaces: str
    replaced_at: _timestamp_pb2.Timestamp
    cancel_requested_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    leg_details: _containers.RepeatedCompositeFieldContainer[OrderDetails]
    def __init__(self, id: _Optional[str] = ..., client_order_id: _Optional[str] = ..., symbol: _Optional[str] = ..., asset_class: _Optional[_Union[AssetClass, str]] = ..., order_class: _Optional[_Union[OrderClass, str]] = ..., order_type: _Optional[_Union[OrderType, str]] = ..., side: _Optional[_Union[OrderSide, str]] = ..., time_in_force: _Optional[_Union[TimeInForce, str]] = ..., qty: _Optional[str] = ..., filled_qty: _Optional[str] = ..., filled_avg_price: _Optional[str] = ..., limit_price: _Optional[str] = ..., stop_price: _Optional[str] = ..., status: _Optional[str] = ..., extended_hours: _Optional[bool] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., submitted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., filled_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., canceled_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expired_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., legs: _Optional[_Iterable[_Union[OrderUpdateLeg, _Mapping]]] = ..., commission: _Optional[str] = ..., asset_class_name: _Optional[str] = ..., order_class_name: _Optional[str] = ..., order_type_name: _Optional[str] = ..., side_name: _Optional[str] = ..., time_in_force_name: _Optional[str] = ..., asset_id: _Optional[str] = ..., notional: _Optional[str] = ..., position_intent: _Optional[str] = ..., trail_percent: _Optional[str] = ..., trail_price: _Optional[str] = ..., hwm: _Optional[str] = ..., ratio_qty: _Optional[str] = ..., replaced_by: _Optional[str] = ..., replaces: _Optional[str] = ..., replaced_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cancel_requested_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., leg_details: _Optional[_Iterable[_Union[OrderDetails, _Mapping]]] = ...) -> None: ...

class OrderUpdateLeg(_message.Message):
    __slots__ = ("id", "symbol", "side", "qty", "filled_qty", "filled_avg_price", "ratio_qty", "status")
    ID_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    QTY_FIELD_NUMBER: _ClassVar[int]
    FILLED_QTY_FIELD_NUMBER: _ClassVar[int]
    FILLED_AVG_PRICE_FIELD_NUMBER: _ClassVar[int]
    RATIO_QTY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    id: str
    symbol: str
    side: OrderSide
    qty: str
    filled_qty: str
    filled_avg_price: str
    ratio_qty: str
    status: str
    def __init__(self, id: _Optional[str] = ..., symbol: _Optional[str] = ..., side: _Optional[_Union[OrderSide, str]] = ..., qty: _Optional[str] = ..., filled_qty: _Optional[str] = ..., filled_avg_price: _Optional[str] = ..., ratio_qty: _Optional[str] = ..., status: _Optional[str] = ...) -> None: ...

class ConnectionStatus(_message.Message):
    __slots__ = ("version", "started_at", "current_time", "feeds", "client_count", "environment")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    CURRENT_TIME_FIELD_NUMBER: _ClassVar[int]
    FEEDS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    version: str
    started_at: _timestamp_pb2.Timestamp
    current_time: _timestamp_pb2.Timestamp
    feeds: _containers.RepeatedCompositeFieldContainer[FeedStatus]
    client_count: int
    environment: Environment
    def __init__(self, version: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., current_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., feeds: _Optional[_Iterable[_Union[FeedStatus, _Mapping]]] = ..., client_count: _Optional[int] = ..., environment: _Optional[_Union[Environment, str]] = ...) -> None: ...

class FeedStatus(_message.Message):
    __slots__ = ("feed_type", "state", "last_connected_at", "error_message", "subscription_count", "reconnect_attempts", "messages_received", "name", "epoch", "sequence", "last_message_at", "state_since")
    FEED_TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LAST_CONNECTED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_MESSAGE_AT_FIELD_NUMBER: _ClassVar[int]
    STATE_SINCE_FIELD_NUMBER: _ClassVar[int]
    feed_type: FeedType
    state: ConnectionState
    last_connected_at: _timestamp_pb2.Timestamp
    error_message: str
    subscription_count: int
    reconnect_attempts: int
    messages_received: int
    name: str
    epoch: str
    sequence: int
    last_message_at: _timestamp_pb2.Timestamp
    state_since: _timestamp_pb2.Timestamp
    def __init__(self, feed_type: _Optional[_Union[FeedType, str]] = ..., state: _Optional[_Union[ConnectionState, str]] = ..., last_connected_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error_message: _Optional[str] = ..., subscription_count: _Optional[int] = ..., reconnect_attempts: _Optional[int] = ..., messages_received: _Optional[int] = ..., name: _Optional[str] = ..., epoch: _Optional[str] = ..., sequence: _Optional[int] = ..., last_message_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
