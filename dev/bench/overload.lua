-- What wrk sends to overload a service: saves of many clients, each of whom thinks for a while before the next.
-- wrk -s dev/bench/overload.lua URL -- ids=FILE pool=10000 think=400 patient=1
--
-- `think`: milliseconds, in the mean, from a reply to the next save. `patient`: a client that is refused waits for
-- as long as it was told to; else it tries again at once.
local ID = 37 -- bytes of a line of the file

local threads = {}
local set = {}
local ids
-- How long the clients whose replies came wait, the first first: which client it is makes no difference.
local pauses, first, last = {}, 1, 0

-- Globals, as `done` can read only these.
good, refused, strange = 0, 0, 0

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  for _, argument in ipairs(args) do
    local name, value = argument:match("^(%w+)=(.*)$")
    set[name] = tonumber(value) or value
  end
  local file = assert(io.open(set.ids))
  ids = file:read("*a")
  file:close()
  math.randomseed(os.time() + number)
end

function request()
  local n = math.random(0, set.pool - 1)
  local path = "/api/sessions/" .. ids:sub(n * ID + 1, n * ID + ID - 1) .. "/progress"
  local body = '{"question_id": ' .. math.random(0, 19) .. ', "answer": "answer ' .. math.random(10, 99) .. '"}'
  return wrk.format("PUT", path, { ["content-type"] = "application/json" }, body)
end

-- Not for so long that the server takes the connection for one that is not needed any more.
local function thought() return math.min(4000, -math.log(1 - math.random()) * set.think) end

function response(status, headers)
  local pause = 0
  if status == 200 then
    good = good + 1
    pause = thought()
  elseif status == 503 and headers["retry-after"] then
    refused = refused + 1
    pause = set.patient > 0 and 1000 * headers["retry-after"] or 0
  else
    strange = strange + 1
  end
  last = last + 1
  pauses[last] = pause
end

function delay()
  if first > last then return thought() end
  local pause = pauses[first]
  pauses[first] = nil
  first = first + 1
  return pause
end

function done(summary)
  local told = { good = 0, refused = 0, strange = 0 }
  for _, thread in ipairs(threads) do
    for name, count in pairs(told) do told[name] = count + thread:get(name) end
  end
  local errors = summary.errors
  told.broken = errors.connect + errors.read + errors.write + errors.timeout
  told.microseconds = summary.duration
  local fields = {}
  for name, value in pairs(told) do table.insert(fields, string.format('"%s": %.0f', name, value)) end
  print("{" .. table.concat(fields, ", ") .. "}")
end
