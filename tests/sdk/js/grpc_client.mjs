// @grpc/grpc-js with the contract read by @grpc/proto-loader: the same arguments and lines as
// grpc_client.py, except that --contract names the folder that the contract is in.

import { parseArgs } from "node:util";

import { credentials, loadPackageDefinition, status } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { onStopRequest } from "./report.mjs";

const { values } = parseArgs({
  options: {
    address: { type: "string" },
    contract: { type: "string" },
    calls: { type: "string" },
  },
});
const definition = loadSync("cream/v1/stream_proxy.proto", {
  includeDirs: [values.contract],
  enums: String,
  longs: String,
});
const { StreamProxyService } = loadPackageDefinition(definition).cream.v1;
const service = new StreamProxyService(values.address, credentials.createInsecure());

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const end = (method, error) =>
  say({ method, status: status[error.code], details: error.details });

service.GetConnectionStatus({}, (error, response) => {
  if (error) end("GetConnectionStatus", error);
  else say({ method: "GetConnectionStatus", response });
});
const calls = Object.entries(JSON.parse(values.calls)).map(([method, request]) => {
  const call = service[method](request);
  call.on("metadata", () => say({ begun: method }));
  call.on("data", (response) => say({ method, response }));
  call.on("error", (error) => {
    if (error.code !== status.CANCELLED) end(method, error);
  });
  return call;
});
onStopRequest(() => {
  for (const call of calls) call.cancel();
  service.close();
});
