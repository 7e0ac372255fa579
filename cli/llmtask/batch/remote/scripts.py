"""What the broker does in one step each, in its own Lua; `store` and `places` say what the keys hold."""

OPEN = """
local session, currency, most = KEYS[1], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local number = string.format('%.0f', math.max(now, tonumber(redis.call('HGET', session, 'number') or 0) + 1))
redis.call('DEL', session)
redis.call('HSET', session, 'number', number)
if currency ~= '' then redis.call('HSET', session, 'currency', currency, 'most', most) end
for i = 2, #KEYS do redis.call('HSET', KEYS[i], '', '') end -- one that has nothing left would forget when it expires
return number
"""
RESTORE = """
local session, number, stop, currency, most = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HEXISTS', session, 'number') == 1 then return 0 end
redis.call('HSET', session, 'number', number)
if stop ~= '' then redis.call('HSET', session, 'stop', stop) end
if currency ~= '' then redis.call('HSET', session, 'currency', currency, 'most', most) end
for i = 2, #KEYS do redis.call('HSET', KEYS[i], '', '') end
return 1
"""
BEGIN = """
local results, owners, starts, session, all_used = unpack(KEYS)
local key, me, before, of, queue = unpack(ARGV)
local result = redis.call('HGET', results, key)
if result then
  local settled = string.match(result, '^#(%d+)$')
  if not settled then return {'over', result} end
  if tonumber(settled) >= tonumber(of) then return {'over', ''} end
  redis.call('HDEL', results, key)
  redis.call('HDEL', starts, key)
end
local owner = redis.call('HGET', owners, key)
if owner and owner ~= me and owner ~= before then return {'held', owner} end
local now = redis.call('HMGET', session, 'number', 'stop', 'queue:' .. queue)
if not now[1] then return {'forgotten', ''} end
local used = redis.call('HGET', all_used, key) or ''
if now[2] then return {'stopped', now[2], used, 0, now[1]} end
local count = tonumber(redis.call('HGET', starts, key) or 0)
if owner ~= me or count == 0 then -- else the reply was lost, and it is asked again
  redis.call('HSET', owners, key, me)
  count = redis.call('HINCRBY', starts, key, 1)
end
return {'begun', '', used, count, now[1], now[3] or ''}
"""
GIVE_BACK = """
local owners, starts, all_used = unpack(KEYS)
local key, me, used = unpack(ARGV)
if redis.call('HGET', owners, key) ~= me then return end
redis.call('HDEL', owners, key)
redis.call('HINCRBY', starts, key, -1)
if used ~= '' then redis.call('HSET', all_used, key, used) end
"""
LOWER = """
local session, spent, currency, most = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
redis.call('HSET', session, 'most', most)
if tonumber(redis.call('HGET', session, 'spent:' .. currency) or 0) >= tonumber(most) then
  redis.call('HSETNX', session, 'stop', spent)
end
"""
RETURN = """
local out, owners, starts, all_used = unpack(KEYS)
local kept, key, me, document, session, was_begun, calls = unpack(ARGV)
if was_begun == '1' then
  if redis.call('HGET', owners, key) ~= me then return end -- it is told again, or another's by now
  redis.call('HDEL', owners, key)
  redis.call('HINCRBY', starts, key, -1)
  redis.call('HDEL', all_used, key)
elseif redis.call('HDEL', all_used, key) == 0 and calls ~= '0' then
  return
end
redis.call('XADD', out, '*', 'kind', 'returned', 'document', document, 'session', session)
redis.call('EXPIRE', out, kept)
"""
PUBLISH = """
local out, results, starts, owners, session, all_used = unpack(KEYS)
local kept, spent, opening, ended = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local most = redis.call('HMGET', session, 'currency', 'most')
if ended ~= '' then redis.call('XADD', out, '*', 'kind', 'rows', 'document', ended) end
local i = 5
while i <= #ARGV do
  local key, document, costs = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local known = redis.call('HGET', results, key)
  i = i + 3
  for j = i, i + 2 * costs - 1, 2 do
    if known ~= document and not (known and string.sub(known, 1, 1) == '#') then -- else it is told again
      local sum = redis.call('HINCRBY', session, 'spent:' .. ARGV[j], ARGV[j + 1])
      if most[1] == ARGV[j] and sum >= tonumber(most[2]) then redis.call('HSETNX', session, 'stop', spent) end
    end
  end
  i = i + 2 * costs
  if not known then
    redis.call('HDEL', starts, key)
    redis.call('HDEL', owners, key)
    redis.call('HDEL', all_used, key)
    redis.call('HSET', results, key, document)
    redis.call('XADD', out, '*', 'kind', 'outcome', 'document', document)
  end
end
for _, name in ipairs({out, results, session}) do redis.call('EXPIRE', name, kept) end
local stop = redis.call('HGET', session, 'stop')
if stop then return stop end
if opening ~= '' then redis.call('XADD', out, '*', 'kind', 'rows', 'document', opening) end
return ''
"""
STOP_QUEUE = """
if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then return end
redis.call('HSETNX', KEYS[1], 'queue:' .. ARGV[2], ARGV[3])
"""
PAUSE = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
"""
PLACES = """
local name, pause = KEYS[1], KEYS[2]
local me, held, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most, lease = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local found, workers, said = redis.call('HGETALL', name), {}, {}
for i = 1, #found, 2 do
  if string.sub(found[i], 1, 1) == '#' then said[found[i]] = found[i + 1]
  elseif found[i] ~= me then workers[found[i]] = found[i + 1] end
end

-- Nobody was heard for long, and some were calling: the broker was away, and they may be still. Each tries again within
-- two seconds.
local grace = tonumber(said['#grace'] or 0)
if next(workers) and now - tonumber(said['#heard'] or now) > lease / 2 then
  grace = now + lease / 2 + 2000
  redis.call('HSET', name, '#grace', grace)
end

local theirs, count, waiting = 0, 1, {}
for worker, value in pairs(workers) do
  local h, w, at, theirs_lease = string.match(value, '(%d+) (%d+) (%d+) (%d+)')
  if now - at > tonumber(theirs_lease) and now >= grace then
    redis.call('HDEL', name, worker)
  else
    theirs, count = theirs + h, count + 1
    if tonumber(w) > 0 then waiting[#waiting + 1] = {tonumber(h), tonumber(w)} end
  end
end

-- Each has its share first; what is left over goes to whoever was not the last to be given one.
local given, paused = 0, math.max(redis.call('PTTL', pause), 0)
local wait = paused
if now < grace then wait = math.max(wait, grace - now) end
if wait <= 0 then
  local free, share, kept = most - theirs - held, math.floor(most / count), 0
  for _, one in ipairs(waiting) do kept = kept + math.max(0, math.min(one[2], share - one[1])) end
  if #waiting == 0 then
    given = math.min(wanted, free)
  else
    given = math.max(math.min(wanted, free, share - held), 0)
    if said['#last'] ~= me then given = math.max(given, math.min(given + 1, wanted, free - kept)) end
  end
  given = math.max(given, 0)
end

held, wanted = held + given, wanted - given
if held + wanted > 0 then redis.call('HSET', name, me, held .. ' ' .. wanted .. ' ' .. now .. ' ' .. lease)
else redis.call('HDEL', name, me) end
redis.call('HSET', name, '#heard', now)
if given > 0 then redis.call('HSET', name, '#last', me) end
if redis.call('PTTL', name) < lease * 20 then redis.call('PEXPIRE', name, lease * 20) end
return {given, wait, paused}
"""
MINUTE = """
local name, pause, requests, tokens, more = KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(redis.call('TIME')[1])
local paused = redis.call('PTTL', pause)
if paused > 0 then return {math.ceil(paused / 1000), now} end
local found, r, t, seconds = redis.call('HGETALL', name), 0, 0, {}
local rs, ts = {}, {}
for i = 1, #found, 2 do
  local second, what = string.match(found[i], '(%d+):(%a)')
  second = tonumber(second)
  if second <= now - 61 then redis.call('HDEL', name, found[i])
  else
    local value = tonumber(found[i + 1])
    if what == 'r' then r, rs[second] = r + value, value else t, ts[second] = t + value, value end
    seconds[second] = true
  end
end
local order = {}
for second in pairs(seconds) do order[#order + 1] = second end
table.sort(order)
local wait = 0
for _, second in ipairs(order) do
  if (requests == 0 or r + 1 <= requests) and (tokens == 0 or t + more <= tokens) then break end
  r, t, wait = r - (rs[second] or 0), t - (ts[second] or 0), second + 61 - now
end
if wait > 0 then return {wait, now} end
redis.call('HINCRBY', name, now .. ':r', 1)
if more > 0 then redis.call('HINCRBY', name, now .. ':t', more) end
redis.call('EXPIRE', name, 120)
return {0, now}
"""
