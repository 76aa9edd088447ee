-- Merges registers of one shard and answers what changed. For Redis 6.2 or later and Valkey.
--
-- KEYS  1  hash   field -> "rank at value"; field "#" -> the version of the last change
--       2  zset   field -> the version at which it last changed
--       3  zset   field -> when it expires (ms of this store's clock)
--       4  zset   instance -> until when it counts as alive (ms)
-- ARGV  1  instance   2  ms it stays alive (0: it leaves)   3  version seen   4  answers at most
--       5  channel for hints, or empty
--       then, for each register: field, rank, ms to live, 1 if it is to be announced, value
--
-- Of two ranks the higher one stays; the same rank again only lives longer. So a call that is made
-- twice, late or out of order does what it did once. Every key expires with the last of what it
-- holds. Work is bounded by the number of arguments and by the limits below.

local data, versions, ends, living = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local instance, alive, seen, most = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function whole(number) return string.format('%.0f', number) end
local function keep(key, span)
  if redis.call('PTTL', key) < span then redis.call('PEXPIRE', key, whole(span)) end
end

-- Three keys hold the same fields. Where they do not, a server short of memory has evicted one, and
-- what the others say is untrue: all go, and by `before` every instance learns that it has to tell
-- all again.
local version = redis.call('HGET', data, '#')
local fields = redis.call('HLEN', data) - 1
if not version or redis.call('ZCARD', versions) ~= fields or redis.call('ZCARD', ends) ~= fields
then
  redis.call('DEL', data, versions, ends, living)
  version = nil
end

local gone = redis.call('ZRANGEBYSCORE', ends, '-inf', whole(now), 'LIMIT', 0, 100)
if #gone > 0 then
  redis.call('HDEL', data, unpack(gone))
  redis.call('ZREM', versions, unpack(gone))
  redis.call('ZREM', ends, unpack(gone))
end

redis.call('ZREMRANGEBYSCORE', living, '-inf', whole(now))
local before = redis.call('ZSCORE', living, instance) or '0'
if alive > 0 then
  redis.call('ZADD', living, whole(now + alive), instance)
  keep(living, alive + 1000)
else
  redis.call('ZREM', living, instance)
end

-- Who is alive may rely on a version, be it that of nothing.
local changed, longest, news = not version and alive > 0, 0, false
version = tonumber(version or '0')
for at = 6, #ARGV, 5 do
  local field, rank, span = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local loud, value = ARGV[at + 3], ARGV[at + 4]
  local held = redis.call('HGET', data, field)
  local reigns = held and tonumber(string.match(held, '^%d+')) or -1
  if tonumber(rank) > reigns then
    version = version + 1
    changed = true
    news = news or loud == '1'
    redis.call('HSET', data, field, rank .. ' ' .. whole(now) .. ' ' .. value)
    redis.call('ZADD', versions, whole(version), field)
  end
  if tonumber(rank) >= reigns then
    redis.call('ZADD', ends, 'GT', whole(now + span), field)
    longest = math.max(longest, span)
  end
end
if changed then redis.call('HSET', data, '#', whole(version)) end
-- While an instance counts as alive the version goes on, and who has seen it is not misled; and
-- the three keys end together, so that none holds what another has forgotten.
longest = math.max(longest, alive) + 1000
if longest > 1000 then
  longest = math.max(longest, redis.call('PTTL', data))
  keep(data, longest)
  keep(versions, longest)
  keep(ends, longest)
end
if news and ARGV[5] ~= '' then
  redis.pcall('PUBLISH', ARGV[5], string.match(data, '{.*:(%d+)}') .. ' ' .. instance)
end

local fresh =
  redis.call('ZRANGEBYSCORE', versions, '(' .. seen, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
local read, last = {}, version
for at = 1, #fresh, 2 do
  read[#read + 1] = fresh[at]
  last = fresh[at + 1]
end
local more = 0
if #read == tonumber(most) then more = 1 else last = version end
local answer = { '1 ' .. whole(now) .. ' ' .. redis.call('ZCARD', living) .. ' ' .. before .. ' '
  .. whole(tonumber(last)) .. ' ' .. more }
if #read > 0 then
  for at, held in ipairs(redis.call('HMGET', data, unpack(read))) do
    if held then answer[#answer + 1] = read[at] .. ' ' .. held end
  end
end
return table.concat(answer, '\n')
