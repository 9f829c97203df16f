-- What wrk sends: one operation on the sessions whose ids a file has; at the end it prints a line of JSON.
-- wrk -s dev/bench/load.lua URL -- operation=put ids=FILE pool=10000 first=10000 last=20000 questions=20 threads=1
--   rate=0 churn=0 check=0
--
-- `pool`: operations that take any session take one of the first so many. `first` and `last`: those that need
-- a session of their own take them in turn from here to there. `rate`: requests/s of all threads, 0 for as
-- many as go. `churn`: one of so many requests is the last of its connection, 0 for none. `check`: look at each
-- reply, which costs wrk time.
local ffi = require("ffi")
ffi.cdef([[
  typedef struct { long seconds; long nanoseconds; } bench_time;
  int clock_gettime(int clock, bench_time *time);
]])

local MONOTONIC = 1
local ID = 37 -- bytes of a line of the file

local threads = {}
local time = ffi.new("bench_time")
local set = {}
local ids, due

-- Globals, as `done` can read only these.
sent, taken, exhausted, strange = 0, 0, 0, 0

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

local function now()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

local function id(n)
  return ids:sub(n * ID + 1, n * ID + ID - 1)
end

local function any()
  return id(math.random(0, set.pool - 1))
end

-- The threads take turns, so none takes what another one has.
local function own()
  local n = set.first + number + taken * set.threads
  taken = taken + 1
  if n >= set.last then
    exhausted = exhausted + 1
    n = set.first
  end
  return id(n)
end

local function message(method, path, body)
  local head = method .. " /api/sessions/" .. path .. " HTTP/1.1\r\nhost: bench\r\n"
  if set.churn > 0 and sent % set.churn == 0 then head = head .. "connection: close\r\n" end
  if not body then return head .. (method == "POST" and "content-length: 0\r\n\r\n" or "\r\n") end
  return head .. "content-type: application/json\r\ncontent-length: " .. #body .. "\r\n\r\n" .. body
end

local function get(session) return message("GET", session) end

local function start()
  local user = math.random(0, 2 ^ 31 - 1)
  return message("POST", "start", '{"user_id": "user-' .. user .. '", "quiz_id": 7}')
end

local function put()
  local question = math.random(0, set.questions - 1)
  local body = '{"question_id": ' .. question .. ', "answer": "answer ' .. math.random(10, 99) .. '"}'
  return message("PUT", any() .. "/progress", body)
end

local function patch()
  local question = math.random(0, set.questions - 1)
  local answers = {}
  for n = 1, math.min(10, set.questions) do
    answers[n] = '"' .. (question + n) % set.questions .. '": "answer ' .. math.random(10, 99) .. '"'
  end
  return message("PATCH", any() .. "/progress", '{"answers": {' .. table.concat(answers, ", ") .. "}}")
end

local function complete() return message("POST", own() .. "/complete") end

local function mix()
  local turn = sent % 24
  if turn == 0 then return start() end
  if turn == 12 then return complete() end
  if turn == 6 or turn == 18 then return get(any()) end
  return put()
end

local operations = {
  -- In turn, so that all are in Redis after the first round.
  ["get hit"] = function()
    taken = taken + 1
    return get(id((number + taken * set.threads) % set.pool))
  end,
  ["get miss"] = function() return get(own()) end,
  put = put,
  patch = patch,
  start = start,
  complete = complete,
  mix = mix,
}

-- Requests are due at random moments whose mean distance keeps the rate, whatever the replies take.
local function pause()
  due = due - math.log(1 - math.random()) * set.threads / set.rate
  return math.max(0, (due - now()) * 1000)
end

local function look(status, _, body)
  if status < 200 or status > 299 or not body:find('"version"', 1, true) then strange = strange + 1 end
end

function init(args)
  for _, argument in ipairs(args) do
    local name, value = argument:match("^(%w+)=(.*)$")
    set[name] = tonumber(value) or value
  end
  local file = assert(io.open(set.ids))
  ids = file:read("*a")
  file:close()
  due = now()
  math.randomseed(due * 1e6 + number)
  if set.rate > 0 then delay = pause end
  if set.check > 0 then response = look end
end

function request()
  sent = sent + 1
  return operations[set.operation]()
end

local function sum(name)
  local total = 0
  for _, thread in ipairs(threads) do total = total + thread:get(name) end
  return total
end

function done(summary, latency)
  local errors = summary.errors
  local most = 0
  -- The threads do not keep step: what the next run starts behind is the furthest of them.
  for _, thread in ipairs(threads) do most = math.max(most, thread:get("taken")) end
  local told = {
    requests = summary.requests,
    microseconds = summary.duration,
    sent = sum("sent"),
    taken = most * #threads,
    p50 = latency:percentile(50),
    p99 = latency:percentile(99),
    connect = errors.connect,
    read = errors.read,
    write = errors.write,
    timeout = errors.timeout,
    status = errors.status,
    strange = sum("strange"),
    exhausted = sum("exhausted"),
  }
  local fields = {}
  for name, value in pairs(told) do table.insert(fields, string.format('"%s": %.0f', name, value)) end
  print("{" .. table.concat(fields, ", ") .. "}")
end
