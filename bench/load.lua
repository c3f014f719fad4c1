-- What wrk sends: PUT or GET of 256-byte values, over all keys in a scattered order.
--
--   wrk ... -s load.lua URL -- <put|get> <keys> <first> <marker> <query>
--
-- The order is 0, step, 2 step ... modulo <keys>, and begins behind number <first> of it. <keys> is a
-- power of ten and the step has no divisor in common with it, so <keys> requests in a row reach every
-- key once. The text of a
-- request is put together from two constant halves: wrk.format for each would cost more than the
-- request itself. One thread only: a second one would send the same keys.

local keys, step, k = 0, 61803, 0
local head, tail = "", ""

function init(args)
  keys = tonumber(args[2])
  k = tonumber(args[3]) * step % keys
  local path = "/v1/kv/default/key:@" .. (args[5] or "")
  local text
  if args[1] == "put" then
    local value = args[4] .. string.rep("x", 256 - #args[4])
    wrk.headers["Content-Type"] = "application/octet-stream"
    text = wrk.format("PUT", path, nil, value)
  else
    text = wrk.format("GET", path)
  end
  local at = string.find(text, "@", 1, true)
  head, tail = string.sub(text, 1, at - 1), string.sub(text, at + 1)
end

function request()
  k = (k + step) % keys
  return head .. string.format("%012d", k) .. tail
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"status":%d,"broken":%d,"timeouts":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write, e.timeout))
end
