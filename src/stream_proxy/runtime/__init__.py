"""What any asyncio network program needs, knowing nothing of markets."""
