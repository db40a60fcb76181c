-- What a results.db holds, what each number means, and every statistic made of it.
--
-- Tables hold instants and counts, generated columns hold differences, views hold
-- statistics: a figure stands in one place, so console, charts and Datasette agree.
--
--   * An instant ends in _ns: nanoseconds on one monotonic clock since the run began.
--     The wall clock is noted once, in run.started_unix.
--   * NULL is unknown or did not happen; 0 is zero. Ratios run from 0 to 1.
--   * Percentiles are nearest rank, rank = ceil(p * n), and NULL below the number of
--     values they need: p95 from 20 on, p99 from 100 on.

CREATE TABLE IF NOT EXISTS machine (  -- a computer that ran or was watched; no host name, no user name
  id INTEGER PRIMARY KEY,
  fingerprint TEXT NOT NULL UNIQUE,  -- chip, model, cores, memory, GPU and system as JSON: the same machine is one row
  chip TEXT,                         -- processor as the system names it, e.g. Apple M2 Pro
  model TEXT,                        -- hardware model, e.g. Mac14,10
  cpu_cores INTEGER,                 -- logical cores
  memory_bytes INTEGER,              -- physical memory
  gpu TEXT,                          -- graphics processors, joined by ' + '
  gpu_cores INTEGER,                 -- GPU cores where the system counts them (Apple)
  gpu_memory_bytes INTEGER,          -- memory of the discrete GPUs together; NULL when it is shared
  gpu_working_set_bytes INTEGER,     -- how much of its memory macOS lets the GPU use, as when last seen; NULL elsewhere
  os TEXT,                           -- system, release and architecture
  virtual INTEGER CHECK (virtual IN (0, 1))  -- 1: a virtual machine
) STRICT;

CREATE TABLE IF NOT EXISTS run (  -- one start of bench.py or monitor.py, or one import
  id INTEGER PRIMARY KEY,
  label TEXT,                        -- the user's name for it (--label)
  source TEXT NOT NULL CHECK (source IN ('bench', 'monitor', 'import')),  -- what wrote the run
  status TEXT NOT NULL CHECK (status IN ('running', 'finished', 'interrupted', 'failed')),  -- how far the run came; the view runs tells one that died
  simulated INTEGER NOT NULL DEFAULT 0 CHECK (simulated IN (0, 1)),  -- 1: the server was a simulator
  started_unix REAL NOT NULL,        -- seconds since 1970 (UTC) when the run began: zero of every _ns
  seen_unix REAL,                    -- seconds since 1970 when the writer last committed
  pid INTEGER,                       -- number of the process that writes the run, to tell a dead run from a slow one
  ended_ns INTEGER,                  -- instant of the end
  arguments TEXT NOT NULL,           -- everything needed to repeat it, as JSON
  command TEXT,                      -- the command line as typed
  tool_version TEXT NOT NULL,        -- version of this tool
  python_version TEXT,               -- version of Python
  machine_id INTEGER REFERENCES machine (id),
  idle_start_ns INTEGER,             -- the idle baseline begins
  idle_end_ns INTEGER,               -- the idle baseline ends
  monitor_cpu_s REAL,                -- CPU seconds the monitor's threads took
  sampler_cpu_s REAL,                -- CPU seconds the power samplers took
  clock_step_s REAL,                 -- how far the wall clock moved against the monotonic one during the run, seconds
  live TEXT,                         -- while the run runs: what goes on now, as JSON, renewed twice a second; instants in seconds since the run began. NULL once it has ended
  import_key TEXT UNIQUE,            -- what an imported run was read from; NULL otherwise
  title TEXT AS (coalesce(label, source || ' ' || id))  -- name of the run: the label, or what wrote it with its number
) STRICT;

CREATE TABLE IF NOT EXISTS target (  -- a model on a server, as the server described it in this run
  id INTEGER PRIMARY KEY,
  run_id INTEGER NOT NULL REFERENCES run (id),
  host TEXT NOT NULL,                -- base URL of the server
  api TEXT NOT NULL,                 -- protocol spoken: ollama or openai
  server TEXT,                       -- the server's name, e.g. ollama, llama.cpp
  server_version TEXT,               -- the server's version as it says
  model TEXT NOT NULL,               -- the model as asked for; of a server that answers to any name (llama-server) its own
  family TEXT,                       -- model family, e.g. qwen2
  parameter_size TEXT,               -- number of parameters, e.g. 7.6B
  quantization TEXT,                 -- how the weights are stored, e.g. Q4_K_M
  digest TEXT,                       -- digest of the model file
  thinks INTEGER CHECK (thinks IN (0, 1)),  -- 1: the server says that the model can reason
  context_tokens INTEGER,            -- context length of one slot, tokens
  size_bytes INTEGER,                -- memory of the loaded model
  vram_bytes INTEGER,                -- memory of the loaded model on the GPU; less than size_bytes: it spills to the CPU
  prompt_overhead_tokens REAL,       -- tokens that the template puts around a prompt, measured in the warm-up of --prompt-tokens
  tokens_per_prefix REAL,            -- tokens of what is put before a prompt to miss the prompt cache, mean, measured with it
  tokens_per_word REAL,              -- tokens of a made-up word, beside those of its characters, measured with it
  tokens_per_character REAL,         -- tokens of a character of a made-up word, measured with it
  slots INTEGER,                     -- parallel requests that the server is set to; NULL when it cannot be learned
  slots_source TEXT,                 -- where the number of slots was learned
  slot_bytes INTEGER,                -- memory that the context of one slot takes, by the model's geometry and the type of the cache; the most, where sliding windows are not told in full
  kv_cache_type TEXT,                -- type of the context's cache where the server's start names it, e.g. q8_0; NULL: not named, counted as F16
  one_at_a_time TEXT,                -- why this server answers one request at a time whatever it is set to; NULL: nothing known
  machine_id INTEGER REFERENCES machine (id),  -- the computer that the server runs on, where a fleet knew it (--fleet) and its power was read there; NULL: not known
  watcher TEXT,                      -- the worker of the fleet that watched that computer, at first where another went on; NULL: bench.py
  UNIQUE (run_id, host, model)
) STRICT;

CREATE TABLE IF NOT EXISTS objective (  -- what a request must meet to count as good (--slo)
  run_id INTEGER NOT NULL REFERENCES run (id),
  metric TEXT NOT NULL CHECK (metric IN ('ttft_s', 'ttfat_s', 'e2e_s', 'tpot_s', 'tokens_per_s')),  -- column of request that is judged
  bound REAL NOT NULL,               -- limit that a request must keep: at most this; for tokens_per_s at least
  share REAL CHECK (share > 0 AND share <= 1),  -- share of a level's requests that must keep it, judged alone; NULL: 95 % must keep it together with the others that have none
  PRIMARY KEY (run_id, metric)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS level (  -- one concurrency of one model in one run
  id INTEGER PRIMARY KEY,
  run_id INTEGER NOT NULL REFERENCES run (id),
  model TEXT NOT NULL,
  concurrency INTEGER NOT NULL CHECK (concurrency > 0),  -- requests in flight at once
  repeat INTEGER NOT NULL DEFAULT 1, -- 1: the first time that this level was measured, 2: the second ...
  cache TEXT CHECK (cache IN ('cold', 'warm')),  -- cold: each prompt has a prefix of its own, or all of a trace with shared blocks have one; warm: prompts come again, the prompt cache hits
  load TEXT CHECK (load IN ('burst', 'closed', 'open')),  -- burst: all at once; closed: a finished one is replaced at once, after think_time_s where that is known (people, by which the views call such a load); open: they come at a rate
  rate_per_s REAL,                   -- open load: requests per second that were meant to arrive, mean
  arrival_cv REAL,                   -- open load: coefficient of variation of the times between arrivals; 1: Poisson, more: bursts (a gamma law), 0: even
  saturated INTEGER CHECK (saturated IN (0, 1)),  -- open load: 1: its queue was seen to grow and the level was ended early; 0: it was not; NULL: too few requests came to tell
  queue_growth_per_s REAL,           -- open load: by how much the requests that had come and had not ended grew, from the end of the warm-up on, requests per second
  queue_growth_low_per_s REAL,       -- 95 % interval of queue_growth_per_s, lower end, from its increments in batches of equal time, requests per second
  queue_growth_high_per_s REAL,      -- 95 % interval of queue_growth_per_s, upper end, requests per second
  think_time_s REAL,                 -- people: seconds that each was meant to think between a reply's end and the next question, mean; NULL: nobody thinks
  think_law TEXT CHECK (think_law IN ('lognormal', 'exponential', 'fixed')),  -- people: the law that their think times are drawn from
  patience_s REAL,                   -- people: seconds after which who had no first token left; NULL: nobody leaves
  asked_prompt_tokens INTEGER,       -- tokens that each prompt was made up to have (--prompt-tokens), template and prefix included; NULL: other prompts, or several lengths
  prompt_mix TEXT,                   -- prompts of several lengths: how many of each in a block (--mix), as 500*9,8000*1; NULL: not a mixture
  balance TEXT CHECK (balance IN ('least-in-flight', 'round-robin', 'random')),  -- how requests were spread over several servers: least-in-flight, round-robin or random; NULL: there was one, or (before 1.1) they were sent in turn
  ramp_s REAL,                       -- the first requests were spread evenly over so many seconds
  trace TEXT,                        -- open load: name of the file whose requests were replayed (--trace); NULL: none
  trace_kind TEXT,                   -- whose form that file has: BurstGPT, Azure or Mooncake
  trace_speed REAL,                  -- times as fast as the trace was (--trace-speed)
  trace_too_long INTEGER,            -- requests of the trace that do not fit into the context of a slot and were left out
  pool_waits INTEGER,                -- open load: requests that were due while all of concurrency were in flight, sent later or never
  never_sent INTEGER,                -- open load: requests that were due before its end and never sent: their ending is not_sent
  is_control INTEGER CHECK (is_control IN (0, 1)),  -- 1: the first level of its model fired again at the end, to tell whether the machine changed meanwhile; it counts as no repeat and in no answer
  status TEXT NOT NULL CHECK (status IN ('running', 'finished', 'interrupted')),  -- how far the level came
  started_ns INTEGER,                -- the first request left the client
  ended_ns INTEGER,                  -- the last stream ended
  steady_start_ns INTEGER,           -- start of the steady part; the requests in flight and those being answered have lost their trend (MSER-5); NULL for a burst. What was asked in it is judged
  steady_end_ns INTEGER,             -- end of the steady part: the last request was sent; NULL for a burst
  on_battery INTEGER CHECK (on_battery IN (0, 1)),  -- 1: this machine ran on its battery at some time of the level
  low_power_mode INTEGER CHECK (low_power_mode IN (0, 1)),  -- 1: this machine was set to save power at some time of the level
  ttft_mean_low_s REAL,              -- 95 % interval of the mean TTFT, lower end, seconds; see interval_basis
  ttft_mean_high_s REAL,             -- 95 % interval of the mean TTFT, upper end, seconds
  tokens_per_s_mean_low REAL,        -- 95 % interval of the mean tokens per second of a request, lower end
  tokens_per_s_mean_high REAL,       -- 95 % interval of the mean tokens per second of a request, upper end
  interval_basis TEXT CHECK (interval_basis IN ('requests', 'batches')),  -- what the 95 % intervals are made of: requests of the level, which speak of this burst alone; batches of consecutive requests of a load that goes on; NULL: none, or a bootstrap of a version before 1.1, too narrow for few requests
  good_ratio_low REAL,               -- 95 % interval of good_ratio, lower end; neighbours of a load that goes on are worth fewer independent requests, a burst speaks of itself alone
  good_ratio_high REAL,              -- 95 % interval of good_ratio, upper end
  interval_n INTEGER,                -- values that the 95 % intervals are made of
  itl_chunks INTEGER,                -- gaps between text chunks that the inter-token latencies are made of
  itl_mean_s REAL,                   -- inter-token latency (gap between text chunks of one stream), pooled, seconds
  itl_p50_s REAL,                    -- inter-token latency, median, seconds
  itl_p95_s REAL,                    -- inter-token latency, 95th percentile, seconds
  itl_p99_s REAL,                    -- inter-token latency, 99th percentile, seconds
  itl_max_s REAL,                    -- inter-token latency, the longest gap, seconds
  client_send_skew_s REAL,           -- first to last request of the burst leaving the client, seconds; of several processes at most, with the uncertainty of their clocks
  client_send_lag_p50_s REAL,        -- from when a request should have left until it left, median, seconds; it should when it is due and a place is free, in a closed load with the last byte of the reply that it replaces
  client_send_lag_p99_s REAL,        -- the same, nearest-rank p99 (or worst below 100), seconds
  client_send_lag_max_s REAL,        -- the same, the longest, seconds
  client_read_lag_p99_s REAL,        -- how late bench.py noted an arrival, p99 (or worst below 100), seconds
  client_read_lag_source TEXT,       -- how client_read_lag_p99_s is known: kernel, by the kernel's receive stamps; heartbeat, estimated
  client_stamps TEXT CHECK (client_stamps IN ('kernel', 'user')),  -- whose clock readings the chunks carry
  client_cpu_s REAL,                 -- CPU seconds of bench.py during the level, or of all workers of a fleet
  client_cpu_ratio REAL,             -- CPU seconds of bench.py, or of the busiest worker of a fleet, per second of the level; 1 is one core
  client_stall_p99_s REAL,           -- how late a heartbeat thread of bench.py woke, p99, seconds
  client_paused_s REAL,              -- bench.py itself stood still for so long (stopped, or the machine slept), seconds; such gaps are in no inter-token latency
  slept_s REAL,                      -- the machine slept for so long during the level: do not trust it, seconds; 0 it did not, NULL not known
  client_held_s REAL,                -- nothing was sent for so long since too many replies waited to be digested, seconds
  client_digest_lag_max_s REAL,      -- longest from a reply's last byte until its text was read out of it, while others streamed, seconds; NULL for a burst
  in_flight_mean REAL,               -- closed load and people: requests in flight in the steady part, mean, by when each was sent and ended
  in_flight_peak INTEGER,            -- people: requests in flight, the most
  people_law REAL,             -- people / (requests per second * (response time + think time)) in the steady part, cycles at its edges counted as far as they are in it: 1 where everybody is accounted for (interactive response-time law)
  people_law_low REAL,               -- 95 % interval of people_law, lower end
  people_law_high REAL,              -- 95 % interval of people_law, upper end; a level whose interval leaves out 1 is marked
  wasted_tokens INTEGER,             -- tokens that the servers generated, by their own counters, and that reached no client: work for those who had left; NULL where no counter tells (vLLM has one, llama-server with --metrics)
  probe_rate_per_s REAL,             -- a search for the highest rate (--find-rate): requests per second of this probe, whatever became of it; NULL: of no such search
  trial TEXT,                        -- a search for the capacity: what this load came to, as JSON: its size, verdict (above or below the share that is enough, saturated, unresolved), evidence, seconds, missed objectives; the search goes on from these
  client_limited INTEGER CHECK (client_limited IN (0, 1)),  -- 1: bench.py was the bottleneck, do not trust the level
  client_limited_why TEXT,           -- which limit of bench.py was passed, with the figure
  clock_uncertainty_s REAL,          -- several processes sent the level (--fleet): the instants of their requests are this near to one clock, the worst of them, seconds; NULL: one process, or not known
  lost_worker TEXT                   -- the worker of the fleet that was lost in the middle: the level is interrupted and was measured again; NULL: none was lost
) STRICT;
CREATE INDEX IF NOT EXISTS level_run ON level (run_id);

CREATE TABLE IF NOT EXISTS request (  -- one streaming request
  id INTEGER PRIMARY KEY,            -- level_id * 1000000 + number; from number 1000000 on (2^30 + level_id) * 2^32 + number
  level_id INTEGER NOT NULL REFERENCES level (id),
  target_id INTEGER REFERENCES target (id),
  number INTEGER NOT NULL,           -- number of the request within its level, from 1
  prompt_number INTEGER,             -- line of the file of prompts or of the trace, from 1
  turn INTEGER NOT NULL DEFAULT 1,   -- turn of a conversation, from 1
  prefix TEXT,                       -- what was put before the prompt to miss the prompt cache
  status TEXT NOT NULL DEFAULT 'in_flight' CHECK (status IN ('in_flight', 'completed',
    'truncated', 'empty', 'http_error', 'stream_error', 'refused', 'reset', 'stalled',
    'cancelled', 'client_error')),   -- how the request ended; in_flight: not yet, or the run died; see ending
  http_status INTEGER,               -- status code of the answer
  error TEXT,                        -- what went wrong, in the server's words where it said any
  done_reason TEXT,                  -- why the server stopped: stop, length ...
  abandoned INTEGER CHECK (abandoned IN (0, 1)),  -- 1: the person who asked left, since no first token had come within the level's patience_s
  person INTEGER,                    -- who asked, from 1 on; people only
  think_s REAL,                      -- how long that person had thought, seconds; of a first question as if the thinking had begun before the level
  worker TEXT,                       -- which worker of a fleet sent it (--fleet), by its name in level_worker; NULL: bench.py itself
  due_ns INTEGER,                    -- when the request should have been sent; latency counts from here; open load and people only
  sent_ns INTEGER,                   -- t0: just before the request was written to the socket
  first_byte_ns INTEGER,             -- first byte of the answer, headers included
  first_text_ns INTEGER,             -- first chunk with text, reasoning or answer
  first_answer_ns INTEGER,           -- first chunk of the answer
  last_text_ns INTEGER,              -- last chunk with text
  ended_ns INTEGER,                  -- the stream ended, in whatever way
  chunks INTEGER,                    -- chunks with text
  reasoning_chunks INTEGER,          -- chunks of reasoning
  output_tokens INTEGER,             -- tokens generated; see output_tokens_source
  output_tokens_source TEXT CHECK (output_tokens_source IN ('server', 'chunks', 'words')),  -- who counted output_tokens
  prompt_tokens INTEGER,             -- tokens of the prompt as the server counts them
  cached_tokens INTEGER,             -- tokens of the prompt that came from the prompt cache
  reply_model TEXT,                  -- the model that the reply itself names; NULL where it named none
  draft_tokens INTEGER,              -- speculative decoding: tokens that a draft proposed; NULL where the server does not tell
  draft_accepted_tokens INTEGER,     -- tokens of the draft that the model kept
  asked_prompt_tokens INTEGER,       -- tokens that the prompt was made up to have, template and prefix included; NULL: another prompt
  asked_output_tokens INTEGER,       -- tokens that the reply was allowed at most, by --tokens, the file of prompts or the trace; NULL: none of these limits it
  prompt_tokens_expected INTEGER,    -- tokens that the prompt has at least: as made up (--prompt-tokens, --trace), else its words; NULL where the server does not count cached ones
  prompt_cut INTEGER CHECK (prompt_cut IN (0, 1)),  -- 1: the server counted less than 0.9 of prompt_tokens_expected, or a whole context: it cut the prompt
  reply_cut INTEGER CHECK (reply_cut IN (0, 1)),  -- 1: the reply ended at the end of the context, before its own end or the limit that was asked for
  server_total_ns INTEGER,           -- the whole request by the server's own clock
  server_load_ns INTEGER,            -- waiting for the scheduler and loading the model, by the server's own clock
  server_prefill_ns INTEGER,         -- evaluating the prompt, by the server's own clock
  server_decode_ns INTEGER,          -- generating, by the server's own clock
  ttft_s REAL AS ((first_text_ns - coalesce(due_ns, sent_ns)) / 1e9),     -- time to first token, seconds
  ttfat_s REAL AS ((first_answer_ns - coalesce(due_ns, sent_ns)) / 1e9),  -- time to first answer token, seconds
  e2e_s REAL AS ((last_text_ns - coalesce(due_ns, sent_ns)) / 1e9),       -- end-to-end latency, seconds
  active_s REAL AS ((last_text_ns - first_text_ns) / 1e9),  -- first to last chunk with text, seconds
  tpot_s REAL AS (CASE WHEN output_tokens > 1 AND last_text_ns > first_text_ns
    THEN (last_text_ns - first_text_ns) / 1e9 / (output_tokens - 1) END),  -- time per output token if the first chunk held one: active_s / (output_tokens - 1), seconds; the views use stream_tpot_s
  tokens_per_s REAL AS (CASE WHEN output_tokens > 1 AND last_text_ns > first_text_ns
    THEN (output_tokens - 1) * 1e9 / (last_text_ns - first_text_ns) END),  -- tokens per second if the first chunk held one: 1 / tpot_s; the views use stream_tokens_per_s
  server_queue_ns INTEGER AS (CASE WHEN server_total_ns IS NOT NULL THEN max(0, server_total_ns
    - coalesce(server_load_ns, 0) - coalesce(server_prefill_ns, 0) - coalesce(server_decode_ns, 0)) END),  -- what the server's total leaves beside load, prefill and decode: waiting for a slot
  draft_acceptance_ratio REAL AS (draft_accepted_tokens * 1.0 / nullif(draft_tokens, 0)),  -- share of the draft's tokens that the model kept, 0 to 1
  tokens_per_chunk REAL AS (CASE WHEN output_tokens_source = 'server' THEN output_tokens * 1.0 / nullif(chunks, 0) END),  -- tokens that share a chunk, mean; NULL where the server counts no tokens
  ending TEXT AS (CASE WHEN status = 'cancelled' AND sent_ns IS NULL AND due_ns IS NOT NULL THEN 'not_sent' WHEN status = 'cancelled' AND abandoned THEN 'abandoned' ELSE status END),  -- how the request ended: completed, truncated, empty, http_error, stream_error, refused, reset, stalled, cancelled, client_error, not_sent (status cancelled: due in an open load and never sent) or abandoned (status cancelled: the person left); in_flight: not yet, or the run died
  stream_tokens_per_s REAL AS (CASE WHEN output_tokens > 1 AND last_text_ns > first_text_ns
    THEN (output_tokens - coalesce(tokens_per_chunk, 1)) * 1e9 / (last_text_ns - first_text_ns) END),  -- tokens per second of the request: those after the first chunk / active_s; the first chunk is taken to hold tokens_per_chunk
  stream_tpot_s REAL AS (1 / stream_tokens_per_s),  -- time per output token: 1 / stream_tokens_per_s, seconds
  UNIQUE (level_id, number)
) STRICT;

CREATE TABLE IF NOT EXISTS level_worker (  -- a process of a fleet that sent a share of a level (--fleet), and how well its clock is known
  level_id INTEGER NOT NULL REFERENCES level (id),
  worker TEXT NOT NULL,              -- name of the worker in the fleet
  machine_id INTEGER REFERENCES machine (id),  -- the computer that it ran on
  requests INTEGER NOT NULL,         -- requests that it sent, or should have sent
  cpu_s REAL,                        -- CPU seconds of the process during the level; NULL: it was lost
  clock_offset_s REAL,               -- clock of the worker less that of bench.py when the level began, seconds; either counts from any instant, such as its machine's start
  clock_drift REAL,                  -- seconds by which that grew in a second
  clock_uncertainty_s REAL,          -- the instants of its requests are this near to the clock of bench.py, seconds; NULL: not known
  clock_trip_s REAL,                 -- the fastest question and answer between both, seconds
  PRIMARY KEY (level_id, worker)
) STRICT;

CREATE TABLE IF NOT EXISTS reply (  -- the text of one request
  request_id INTEGER PRIMARY KEY REFERENCES request (id),
  reasoning TEXT,                    -- what the model thought
  answer TEXT,                       -- what the model answered
  tool_calls TEXT                    -- tools that the model called, as JSON in the form of its protocol; NULL without any
) STRICT;

CREATE TABLE IF NOT EXISTS chunk (  -- one piece of streamed text; several tokens may share one
  request_id INTEGER NOT NULL REFERENCES request (id),
  number INTEGER NOT NULL,           -- number of the chunk within its request, from 0
  at_ns INTEGER NOT NULL,            -- instant at which the last byte of the chunk was read
  is_reasoning INTEGER NOT NULL,     -- 1: reasoning, 0: answer
  characters INTEGER,                -- Unicode characters of reply's reasoning or answer that came with it; 0: a call of a tool; NULL: not known, as before 1.1 and where an API key was masked
  PRIMARY KEY (request_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS process (  -- a process of the server
  id INTEGER PRIMARY KEY,
  run_id INTEGER NOT NULL REFERENCES run (id),
  pid INTEGER NOT NULL,
  created_unix REAL,                 -- when the process started, seconds since 1970: a pid may be used again
  role TEXT,                         -- what the process does for the server: serve, it answers; runner, it runs a model, as vLLM's EngineCore and Worker do; or helper
  name TEXT,                         -- name of the program
  machine_id INTEGER REFERENCES machine (id),  -- the computer that it runs on; NULL: that of the run
  watcher TEXT                       -- the worker of a fleet that watched it, at first where another went on; NULL: bench.py or monitor.py
) STRICT;

CREATE TABLE IF NOT EXISTS process_sample (  -- one look at one process
  process_id INTEGER NOT NULL REFERENCES process (id),
  at_ns INTEGER NOT NULL,
  cpu_s REAL,                        -- user and system CPU seconds since the process started
  cpu_ratio REAL,                    -- CPU seconds per second since the last look; 1 is one core
  memory_ratio REAL,                 -- rss_bytes / physical memory, 0 to 1
  rss_bytes INTEGER,                 -- resident memory of the process; on macOS without most GPU memory
  footprint_bytes INTEGER,           -- memory that macOS charges to the process, with GPU memory and without mapped files; NULL elsewhere
  vms_bytes INTEGER,                 -- virtual memory of the process
  threads INTEGER,
  fds INTEGER,                       -- open file descriptors; NULL when not permitted
  PRIMARY KEY (process_id, at_ns)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS system_sample (  -- one look at the whole machine
  run_id INTEGER NOT NULL REFERENCES run (id),
  at_ns INTEGER NOT NULL,
  cpu_ratio REAL,                    -- share of all cores busy since the last look, 0 to 1
  memory_used_bytes INTEGER,         -- physical memory not available to programs
  swap_used_bytes INTEGER,
  memory_pressure TEXT,              -- the system's own word for memory pressure, where it has one
  PRIMARY KEY (run_id, at_ns)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS power_source (  -- where watts came from
  id INTEGER PRIMARY KEY,
  run_id INTEGER NOT NULL REFERENCES run (id),
  name TEXT NOT NULL,                -- what read the watts: powermetrics, macmon, nvml, amdgpu, intel or rapl
  device TEXT NOT NULL,              -- what the watts are of: soc, gpu0, package-0 ...
  kind TEXT NOT NULL CHECK (kind IN ('interval', 'counter', 'gauge')),  -- interval: energy of a window; counter: a running counter; gauge: momentary watts
  scope TEXT,                        -- what the watts include, in words
  status TEXT NOT NULL,              -- ok, or why the source gave nothing
  samples INTEGER,                   -- samples stored
  dropped INTEGER,                   -- samples that could not be used
  machine_id INTEGER REFERENCES machine (id),  -- the computer that the watts are of; NULL: that of the run
  watcher TEXT                       -- the worker of a fleet that read them, at first where another went on; NULL: bench.py or monitor.py
) STRICT;

CREATE TABLE IF NOT EXISTS power_sample (  -- energy over a stretch of time
  source_id INTEGER NOT NULL REFERENCES power_source (id),
  start_ns INTEGER NOT NULL,         -- the sample begins
  end_ns INTEGER NOT NULL,           -- the sample ends
  energy_j REAL,                     -- joules of everything this source counts
  gpu_energy_j REAL,                 -- joules of the GPU, a part of energy_j
  cpu_energy_j REAL,                 -- joules of the CPU, a part of energy_j
  system_power_w REAL,               -- power of the whole machine where a sensor gives it, watts; not in energy_j
  gpu_busy_ratio REAL,               -- share of the time the GPU was not idle, 0 to 1
  gpu_mhz REAL,                      -- GPU clock, MHz
  gpu_memory_bytes INTEGER,          -- GPU memory in use
  temperature_c REAL,
  thermal TEXT,                      -- the system's word for thermal pressure or throttling
  power_w REAL AS (energy_j * 1e9 / (end_ns - start_ns)),          -- mean watts of everything this source counts
  gpu_power_w REAL AS (gpu_energy_j * 1e9 / (end_ns - start_ns)),  -- mean watts of the GPU
  PRIMARY KEY (source_id, end_ns),
  CHECK (end_ns > start_ns)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS event (  -- something that happened to the server, a sampler or the run
  id INTEGER PRIMARY KEY,
  run_id INTEGER NOT NULL REFERENCES run (id),
  at_ns INTEGER,
  kind TEXT NOT NULL,                -- what happened, in a word, e.g. process_appeared, sampler_restarted, thermal; run_failed: detail is why
  detail TEXT
) STRICT;

-- Views: dropped and made anew at every opening, so that they are always of this version.

DROP VIEW IF EXISTS runs;
CREATE VIEW runs AS  -- every run with a name, its true state and how far it came
SELECT run.id AS run_id,
  run.title AS label,
  run.source,
  CASE WHEN run.status = 'running' AND coalesce(run.seen_unix, run.started_unix)
    < strftime('%s', 'now') - 15 THEN 'interrupted' ELSE run.status END AS status,  -- no sign of life for 15 s: it died
  run.simulated,
  datetime(run.started_unix, 'unixepoch') AS started_utc,
  round(run.ended_ns / 1e9, 1) AS duration_s,
  (SELECT group_concat(DISTINCT model) FROM target WHERE target.run_id = run.id) AS models,
  (SELECT count(*) FROM level WHERE level.run_id = run.id AND level.status = 'finished'
    AND coalesce(level.is_control, 0) = 0) AS levels_finished,
  (SELECT count(*) FROM request JOIN level ON level.id = level_id WHERE level.run_id = run.id) AS requests,
  machine.chip, machine.gpu, machine.os,
  run.command, run.tool_version
FROM run LEFT JOIN machine ON machine.id = run.machine_id;

DROP VIEW IF EXISTS judged_request;
CREATE VIEW judged_request AS  -- the requests that are judged: all of a burst; of a load that goes on, those asked in its steady part, or all where it has none, and wherever they were asked those that were refused or whose line broke: a server that died before has failed them
SELECT level.run_id, level_id, request.id AS request_id
FROM request JOIN level ON level.id = level_id
WHERE steady_start_ns IS NULL OR request.status IN ('refused', 'reset')
  OR coalesce(due_ns, sent_ns, request.ended_ns) BETWEEN steady_start_ns AND steady_end_ns;

DROP VIEW IF EXISTS level_percentiles;
CREATE VIEW level_percentiles AS  -- latency of the completed requests of each level, nearest rank; of a load that goes on, of those asked in its steady part
WITH judged AS (
  SELECT request.* FROM request JOIN judged_request ON judged_request.request_id = request.id WHERE status = 'completed'
), value (level_id, metric, x) AS (
  SELECT level_id, 'ttft_s', ttft_s FROM judged
  UNION ALL SELECT level_id, 'ttfat_s', ttfat_s FROM judged
  UNION ALL SELECT level_id, 'e2e_s', e2e_s FROM judged
  UNION ALL SELECT level_id, 'active_s', active_s FROM judged
  UNION ALL SELECT level_id, 'tpot_s', stream_tpot_s FROM judged
  UNION ALL SELECT level_id, 'tokens_per_s', stream_tokens_per_s FROM judged
), ranked AS (
  SELECT level_id, metric, x,
    row_number() OVER (PARTITION BY level_id, metric ORDER BY x) AS rank,
    count(*) OVER (PARTITION BY level_id, metric) AS n
  FROM value WHERE x IS NOT NULL
)
SELECT level_id, metric, n,
  avg(x) AS mean, min(x) AS min,
  max(CASE WHEN rank = (n + 1) / 2 THEN x END) AS p50,
  max(CASE WHEN n >= 20 AND rank = (95 * n + 99) / 100 THEN x END) AS p95,  -- NULL below 20 values
  max(CASE WHEN n >= 100 AND rank = (99 * n + 99) / 100 THEN x END) AS p99,  -- NULL below 100 values
  max(x) AS max
FROM ranked GROUP BY level_id, metric;

DROP VIEW IF EXISTS level_streaming;
CREATE VIEW level_streaming AS  -- how many requests the server really answered at once
WITH edge (level_id, at_ns, step) AS (  -- a reply in one piece has no length: nobody knows beside whom it was made
  SELECT level_id, first_text_ns, 1 FROM request WHERE last_text_ns > first_text_ns
  UNION ALL SELECT level_id, last_text_ns, -1 FROM request WHERE last_text_ns > first_text_ns
), running AS (
  SELECT level_id, sum(step) OVER (PARTITION BY level_id ORDER BY at_ns, step DESC
    ROWS UNBOUNDED PRECEDING) AS streaming FROM edge
), unknown AS (  -- a single token, that the server counted, is no reply in one piece
  SELECT level_id FROM request WHERE status = 'completed' AND first_text_ns IS NOT NULL GROUP BY level_id
  HAVING 10 * sum(last_text_ns = first_text_ns AND (output_tokens > 1 OR output_tokens_source IS 'chunks')) > count(*)
)
SELECT level_id, CASE WHEN level_id NOT IN (SELECT level_id FROM unknown) THEN max(streaming) END AS peak_streaming  -- NULL where more than a tenth of the replies came in one piece
FROM running GROUP BY level_id;

DROP VIEW IF EXISTS open_load;
CREATE VIEW open_load AS  -- what was offered and what was answered in each open load once its slots were filled: from three replies' time after its start (at most the middle between the first end of a reply and the last request; that end itself in a level of fewer than 40) until the last request was due, or the server was heard last that answered nothing more
WITH asked AS (  -- a later turn of a conversation is due when it is sent
  SELECT level_id, status, ending, sent_ns, first_text_ns, last_text_ns, ended_ns, due_ns AS arrived_ns, coalesce(due_ns, CASE WHEN turn > 1 THEN sent_ns END) AS due_ns FROM request
), heard AS (  -- when the server was heard last
  SELECT level_id, coalesce(max(coalesce(CASE WHEN status IN ('completed', 'http_error') THEN ended_ns END, last_text_ns, first_byte_ns)), -1) AS heard_ns
  FROM request GROUP BY level_id
), span AS (
  SELECT level.id AS level_id, count(*) AS all_due, sum(ending = 'not_sent') AS not_sent, max(arrived_ns) AS last_ns, heard_ns, level.started_ns,
    sum(due_ns > heard_ns AND ending IN ('refused', 'reset', 'stalled')) > 0 AS is_gone,
    min(CASE WHEN asked.status = 'completed' THEN asked.ended_ns END) AS first_end_ns, level.saturated AS was_saturated,
    min(due_ns) + 3 * coalesce(min(first_text_ns - sent_ns) + avg(CASE WHEN asked.status = 'completed' THEN last_text_ns - first_text_ns END), 0) AS filled_ns  -- as long as an exponential law takes to come within 5 %
  FROM level JOIN asked ON asked.level_id = level.id JOIN heard ON heard.level_id = level.id
  WHERE load = 'open' AND due_ns IS NOT NULL GROUP BY level.id
), ended AS (
  SELECT *, CASE WHEN is_gone THEN min(last_ns, heard_ns) ELSE last_ns END AS end_ns FROM span
), judged AS (
  SELECT *, CASE WHEN all_due < 40 THEN first_end_ns ELSE max(first_end_ns, min(filled_ns, (first_end_ns + end_ns) / 2)) END AS start_ns FROM ended
), counted AS (
  SELECT judged.*, sum(due_ns > start_ns AND due_ns <= end_ns) AS due,
    max(CASE WHEN due_ns <= start_ns THEN due_ns END) AS before_ns,
    sum(status = 'completed' AND ended_ns > start_ns AND ended_ns <= end_ns) AS answered
  FROM judged JOIN asked USING (level_id) WHERE due_ns IS NOT NULL GROUP BY level_id
)
SELECT level_id,
  not_sent,                                      -- requests that were due and never sent, of the whole level
  due,                                           -- requests that came due in that time; a later turn of a conversation when it is sent
  answered,                                      -- of those that came due at any time, the ones completed in that time
  CASE WHEN due >= 5 THEN due * 1e9 / (end_ns - coalesce(before_ns, start_ns)) END AS offered_per_s,  -- due, per second since the request before the first of them
  CASE WHEN due >= 5 THEN answered * 1e9 / (end_ns - start_ns) END AS answered_per_s,  -- answered, per second of that time
  CASE WHEN is_gone THEN max(0, heard_ns - coalesce(started_ns, 0)) / 1e9 END AS server_gone_s,  -- seconds of the level after which the server answered nothing more: it refused, broke or was silent; NULL: it did not stop
  CASE WHEN was_saturated THEN 1 WHEN due >= 5 THEN answered < 0.9 * due AND (due - answered) * (due - answered) > 4 * due
    WHEN is_gone THEN NULL WHEN start_ns IS NULL THEN nullif(not_sent > 0, 0)
    ELSE nullif(not_sent > 0.1 * all_due AND not_sent * not_sent > 4 * all_due, 0) END AS saturated  -- 1: the queue was seen to grow, or at least 10 % and more than 2 * sqrt(due) fewer were answered than came due; where fewer than 5 came due in that time 1 if so many of all were never sent, else NULL
FROM counted;
DROP VIEW IF EXISTS level_waiting;
CREATE VIEW level_waiting AS  -- how long requests waited, and how long nobody's prompt was evaluated and no model was loaded meanwhile: then they waited for a slot
WITH prefill AS (  -- by the server's own figures: loading begins with the request, prefill ends with the first text
  SELECT level_id, sent_ns, coalesce(first_text_ns, ended_ns) AS first_ns,
    first_text_ns - server_prefill_ns AS prefill_ns, first_text_ns, min(sent_ns + server_load_ns, coalesce(first_text_ns, ended_ns)) AS loaded_ns
  FROM request WHERE sent_ns IS NOT NULL AND coalesce(first_text_ns, ended_ns) IS NOT NULL
), known AS (  -- one completed request without the figure may have been the one whose prompt was evaluated
  SELECT level_id FROM request WHERE first_text_ns IS NOT NULL GROUP BY level_id HAVING count(server_prefill_ns) = count(*)
), edge (level_id, at_ns, waiting, prefilling) AS (
  SELECT level_id, sent_ns, 1, 0 FROM prefill UNION ALL SELECT level_id, first_ns, -1, 0 FROM prefill
  UNION ALL SELECT level_id, prefill_ns, 0, 1 FROM prefill WHERE prefill_ns IS NOT NULL
  UNION ALL SELECT level_id, first_text_ns, 0, -1 FROM prefill WHERE prefill_ns IS NOT NULL
  UNION ALL SELECT level_id, sent_ns, 0, 1 FROM prefill WHERE loaded_ns IS NOT NULL UNION ALL SELECT level_id, loaded_ns, 0, -1 FROM prefill WHERE loaded_ns IS NOT NULL
), running AS (
  SELECT level_id, at_ns, lead(at_ns) OVER sofar AS until_ns, sum(waiting) OVER sofar AS waiting, sum(prefilling) OVER sofar AS prefilling
  FROM edge WINDOW sofar AS (PARTITION BY level_id ORDER BY at_ns ROWS UNBOUNDED PRECEDING)
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  sum(CASE WHEN running.waiting > 0 THEN until_ns - at_ns ELSE 0 END) / 1e9 AS waiting_s,
  CASE WHEN level.id IN (SELECT level_id FROM known)
    THEN sum(CASE WHEN running.waiting > 0 AND prefilling = 0 THEN until_ns - at_ns ELSE 0 END) / 1e9 END AS waiting_for_slot_s,
  level.id AS level_id
FROM running JOIN level ON level.id = running.level_id JOIN run ON run.id = level.run_id GROUP BY level.id;

DROP VIEW IF EXISTS full_load;
CREATE VIEW full_load AS  -- tokens of all streams per second while the load was full: a burst's plain figure measures its longest reply
WITH edge (level_id, at_ns, step) AS (
  SELECT level_id, first_text_ns, 1 FROM request WHERE last_text_ns > first_text_ns
  UNION ALL SELECT level_id, last_text_ns, -1 FROM request WHERE last_text_ns > first_text_ns
), running AS (
  SELECT level_id, at_ns, lead(at_ns) OVER sofar AS until_ns, sum(step) OVER sofar AS streaming FROM edge
  WINDOW sofar AS (PARTITION BY level_id ORDER BY at_ns, step DESC)
), crowded AS (
  SELECT level_id, min(at_ns) AS start_ns, max(until_ns) AS end_ns
  FROM running JOIN level_streaming USING (level_id) WHERE 10 * streaming >= 9 * peak_streaming AND peak_streaming > 0 GROUP BY level_id
), part AS (
  SELECT level.id AS level_id,
    CASE WHEN steady_end_ns > steady_start_ns THEN steady_start_ns ELSE crowded.start_ns END AS start_ns,
    CASE WHEN steady_end_ns > steady_start_ns THEN steady_end_ns ELSE crowded.end_ns END AS end_ns
  FROM level LEFT JOIN crowded ON crowded.level_id = level.id
), inside AS (  -- a stream over an edge: its tokens per chunk times its chunks inside; of one without stored chunks, as if evenly
  SELECT part.level_id, start_ns, end_ns, output_tokens, CASE
    WHEN last_text_ns <= start_ns OR first_text_ns > end_ns THEN 0
    WHEN first_text_ns > start_ns AND last_text_ns <= end_ns THEN output_tokens
    WHEN EXISTS (SELECT 1 FROM chunk WHERE request_id = request.id)
      THEN output_tokens * 1.0 / chunks * (1  -- numbers follow each other in time: only the chunks outside are read
        + (SELECT number FROM chunk WHERE request_id = request.id AND at_ns <= end_ns ORDER BY number DESC LIMIT 1)
        - (SELECT number FROM chunk WHERE request_id = request.id AND at_ns > start_ns ORDER BY number LIMIT 1))
    ELSE output_tokens * 1.0 * (min(last_text_ns, end_ns) - max(first_text_ns, start_ns)) / nullif(last_text_ns - first_text_ns, 0)
    END AS inside_tokens
  FROM part JOIN request ON request.level_id = part.level_id WHERE first_text_ns IS NOT NULL
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  (end_ns - start_ns) / 1e9 AS duration_s,       -- of that part: the steady one of a load that goes on; else from the first to the last instant with at least 90 % of the peak of streams
  sum(inside_tokens) AS output_tokens,
  CASE WHEN 10 * sum(inside_tokens) >= sum(output_tokens) THEN sum(inside_tokens) * 1e9 / nullif(end_ns - start_ns, 0)
    END AS full_load_tokens_per_s,               -- output tokens of that part / its duration; NULL where it has less than a tenth of the level's tokens, or of a burst whose peak_streaming is unknown
  level.id AS level_id
FROM inside JOIN level ON level.id = inside.level_id JOIN run ON run.id = level.run_id
GROUP BY level.id;

DROP VIEW IF EXISTS judged_objective;
CREATE VIEW judged_objective AS  -- each judged request that ended and each objective of its run: did it meet it?
WITH counted AS (
  SELECT level_id, sum(output_tokens) * 1.0 / nullif(sum(chunks), 0) AS tokens_per_chunk
  FROM request WHERE status = 'completed' AND tokens_per_chunk IS NOT NULL GROUP BY level_id
)
SELECT run_id, simulated, metric, bound, share,
  strain <= 1 AS met,                            -- NULL: this client cut it before that could be told
  strain,                                        -- how near to the bound it came: value / bound, 1 is at it, 1e9 it failed or was cut by the context
  level_id, request_id,
  strain > 1 AND came_at_once AS is_unknown      -- 1: a reply of several tokens in one piece, so that its speed is not known; met is 0
FROM (SELECT request.run_id, run.simulated, metric, bound, share, CASE ending
    WHEN 'completed' THEN coalesce(CASE WHEN 1 IN (prompt_cut, reply_cut) THEN 1e9 END, CASE metric
      WHEN 'ttft_s' THEN ttft_s / bound WHEN 'ttfat_s' THEN ttfat_s / bound WHEN 'e2e_s' THEN e2e_s / bound
      WHEN 'tpot_s' THEN stream_tpot_s / bound WHEN 'tokens_per_s' THEN bound / stream_tokens_per_s END,
      CASE WHEN metric IN ('tpot_s', 'tokens_per_s') AND output_tokens < 2 AND output_tokens_source IS NOT 'chunks' THEN 0.0 END, 1e9)  -- a single token has no rate and misses none; several that came at once meet none
    WHEN 'cancelled' THEN CASE WHEN CASE metric  -- what it had waited, or how fast it had come, until it was cut
      WHEN 'ttft_s' THEN coalesce(first_text_ns, request.ended_ns) - coalesce(due_ns, sent_ns) > bound * 1e9
      WHEN 'ttfat_s' THEN coalesce(first_answer_ns, request.ended_ns) - coalesce(due_ns, sent_ns) > bound * 1e9
      WHEN 'e2e_s' THEN request.ended_ns - coalesce(due_ns, sent_ns) > bound * 1e9
      WHEN 'tpot_s' THEN request.ended_ns - first_text_ns > bound * 1e9 * seen_tokens
      WHEN 'tokens_per_s' THEN seen_tokens * 1e9 < bound * (request.ended_ns - first_text_ns) END THEN 1e9 END
    ELSE 1e9 END AS strain,
  ending = 'completed' AND metric IN ('tpot_s', 'tokens_per_s') AND stream_tokens_per_s IS NULL
    AND NOT coalesce(1 IN (prompt_cut, reply_cut), 0) AS came_at_once,
  request.level_id, request.id AS request_id
FROM (SELECT request.*, judged_request.run_id, request.output_tokens * CASE WHEN output_tokens_source = 'chunks'
    THEN coalesce(counted.tokens_per_chunk, 1) ELSE 1 END AS seen_tokens  -- of a cut request the server told no count
  FROM request JOIN judged_request ON request_id = request.id LEFT JOIN counted USING (level_id)
  WHERE request.status <> 'in_flight') AS request
JOIN objective ON objective.run_id = request.run_id JOIN run ON run.id = request.run_id);

DROP VIEW IF EXISTS demand_summary;
CREATE VIEW demand_summary AS  -- each level and what its run demands: a level is served where each demand is reached
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  metrics,
  share,                                         -- share of the requests that must; NULL: 95 %
  count(*) AS requests,                          -- judged requests that ended
  coalesce(sum(good), 0) AS good_requests,       -- met all of these objectives
  avg(good) AS good_ratio,                       -- their share of those that could be judged
  sum(good IS NULL) AS undecided_requests,       -- this client cut them before they had missed one
  slept_s, level.id AS level_id
FROM (SELECT level_id, share, group_concat(metric) AS metrics, min(met) AS good FROM judged_objective
  GROUP BY request_id, CASE WHEN share IS NOT NULL THEN metric END) AS request
JOIN level ON level.id = level_id JOIN run ON run.id = level.run_id
GROUP BY level.id, CASE WHEN share IS NOT NULL THEN metrics END;

DROP VIEW IF EXISTS level_standing;
CREATE VIEW level_standing AS  -- which levels an answer leaves out: those that were measured again, the warm twins of cold ones and controls
SELECT level.run_id, level.model, level.concurrency, level.repeat,
  (level.status = 'interrupted' OR level.slept_s > 0) AND EXISTS (SELECT 1 FROM level AS again WHERE again.id <> level.id AND coalesce(again.slept_s, 0) = 0 AND again.run_id = level.run_id AND again.status = 'finished'
    AND (again.model, again.concurrency, again.repeat) = (level.model, level.concurrency, level.repeat) AND again.cache IS level.cache
    AND (again.asked_prompt_tokens, again.prompt_mix) IS (level.asked_prompt_tokens, level.prompt_mix)
    AND coalesce(again.is_control, 0) = coalesce(level.is_control, 0))
    AS superseded,                               -- cut short or slept through, and fired again to its end by --resume
  level.status = 'finished' AND level.cache IS 'warm' AND coalesce(level.is_control, 0) = 0 AND EXISTS (SELECT 1 FROM level AS cold WHERE cold.run_id = level.run_id AND cold.status = 'finished'
    AND (cold.model, cold.concurrency, cold.repeat, cold.cache) = (level.model, level.concurrency, level.repeat, 'cold')
    AND (cold.asked_prompt_tokens, cold.prompt_mix) IS (level.asked_prompt_tokens, level.prompt_mix)
    AND coalesce(cold.is_control, 0) = 0)
    AS is_warm_twin,                             -- the same level was measured with a cache that misses, too (--cache both)
  coalesce(level.is_control, 0) AS is_control,
  level.id AS level_id
FROM level;

DROP VIEW IF EXISTS level_summary;
CREATE VIEW level_summary AS  -- the answer in numbers: one row for each level
WITH total AS (
  SELECT level_id, count(*) AS requests,
    sum(status = 'in_flight') AS in_flight,
    sum(status = 'completed') AS completed,
    sum(status NOT IN ('completed', 'in_flight')) AS errors,
    sum(ending = 'abandoned') AS abandoned,
    sum(output_tokens) AS output_tokens,
    sum(prompt_tokens) AS prompt_tokens,
    avg(think_s) AS think_mean_s,
    avg(CASE WHEN status = 'completed' THEN prompt_tokens END) AS prompt_tokens_mean,
    avg(CASE WHEN status = 'completed' THEN output_tokens END) AS output_tokens_mean,
    sum(CASE WHEN is_evaluated THEN prompt_tokens - coalesce(cached_tokens, 0) END) * 1e9
      / nullif(sum(CASE WHEN is_evaluated THEN server_prefill_ns END), 0) AS prefill_tokens_per_s,
    avg(CASE WHEN status = 'completed' THEN asked_output_tokens END) AS asked_output_tokens_mean,
    sum(CASE WHEN status = 'completed' THEN prompt_cut END) AS prompts_cut,
    sum(CASE WHEN status = 'completed' THEN reply_cut END) AS replies_cut,
    sum(chunks) AS chunks,
    sum(CASE WHEN status = 'completed' THEN draft_accepted_tokens END) * 1.0
      / nullif(sum(CASE WHEN status = 'completed' THEN draft_tokens END), 0) AS draft_acceptance_ratio,
    sum(CASE WHEN status = 'completed' AND tokens_per_chunk IS NOT NULL THEN output_tokens END) * 1.0
      / nullif(sum(CASE WHEN status = 'completed' AND tokens_per_chunk IS NOT NULL THEN chunks END), 0) AS tokens_per_chunk
  FROM (SELECT *, status = 'completed' AND prompt_tokens IS NOT NULL AND server_prefill_ns IS NOT NULL
      AND (cached_tokens IS NOT NULL OR turn = 1 AND prefix IS NOT NULL) AS is_evaluated FROM request) GROUP BY level_id
), failing AS (  -- percentiles in which a failure counts as infinitely slow
  SELECT level_id,
    max(CASE WHEN ended >= 20 AND rank = (95 * ended + 99) / 100 THEN ttft_s END) AS ttft_p95_with_errors_s,
    max(CASE WHEN ended >= 100 AND rank = (99 * ended + 99) / 100 THEN ttft_s END) AS ttft_p99_with_errors_s
  FROM (SELECT request.level_id, CASE WHEN status = 'completed' THEN ttft_s END AS ttft_s,
      count(*) OVER (PARTITION BY request.level_id) AS ended,
      row_number() OVER (PARTITION BY request.level_id ORDER BY CASE WHEN status = 'completed' THEN ttft_s END NULLS LAST) AS rank
    FROM request JOIN judged_request ON request_id = request.id WHERE status <> 'in_flight') GROUP BY level_id
), good AS (
  SELECT level_id, CASE WHEN max(is_judged) THEN coalesce(sum(good), 0) END AS good_requests,
    CASE WHEN max(is_judged) THEN avg(good) END AS good_ratio, sum(good IS NULL) AS undecided_requests
  FROM (SELECT level_id, min(met) AS good, coalesce(min(CASE WHEN NOT is_unknown THEN met END) = 0, 0)
      OR min(met) IS NOT NULL AND NOT max(is_unknown) AS is_judged  -- missed one that is known, or has all speeds
    FROM judged_objective GROUP BY request_id) GROUP BY level_id
), latency AS (
  SELECT level_id,
    max(CASE metric WHEN 'e2e_s' THEN n END) AS judged_completed,
    max(CASE metric WHEN 'ttft_s' THEN mean END) AS ttft_mean_s,
    max(CASE metric WHEN 'ttft_s' THEN p50 END) AS ttft_p50_s,
    max(CASE metric WHEN 'ttft_s' THEN p95 END) AS ttft_p95_s,
    max(CASE metric WHEN 'ttft_s' THEN p99 END) AS ttft_p99_s,
    max(CASE metric WHEN 'ttft_s' THEN max END) AS ttft_max_s,
    max(CASE metric WHEN 'ttfat_s' THEN mean END) AS ttfat_mean_s,
    max(CASE metric WHEN 'tpot_s' THEN mean END) AS tpot_mean_s,
    max(CASE metric WHEN 'tokens_per_s' THEN mean END) AS tokens_per_s_mean,
    max(CASE metric WHEN 'tokens_per_s' THEN min END) AS tokens_per_s_min,
    max(CASE metric WHEN 'tokens_per_s' THEN p50 END) AS tokens_per_s_p50,
    max(CASE metric WHEN 'e2e_s' THEN mean END) AS e2e_mean_s,
    max(CASE metric WHEN 'e2e_s' THEN p50 END) AS e2e_p50_s,
    max(CASE metric WHEN 'e2e_s' THEN p95 END) AS e2e_p95_s,
    max(CASE metric WHEN 'e2e_s' THEN p99 END) AS e2e_p99_s,
    max(CASE metric WHEN 'e2e_s' THEN max END) AS e2e_max_s
  FROM level_percentiles GROUP BY level_id
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  level.status, coalesce(requests, 0) AS requests, coalesce(in_flight, 0) AS in_flight,
  coalesce(completed, 0) AS completed, coalesce(errors, 0) AS errors,
  errors * 1.0 / nullif(completed + errors, 0) AS error_ratio,  -- ended otherwise than completed / ended
  coalesce(judged_completed, 0) AS judged_completed,  -- completed requests that waits and speeds are of: of a load that goes on, those asked in its steady part
  ttft_mean_s, ttft_p50_s, ttft_p95_s, ttft_p99_s, ttft_max_s, ttfat_mean_s,
  ttft_p95_with_errors_s, ttft_p99_with_errors_s,  -- failures as infinite; NULL also where that is the answer
  tokens_per_s_mean, tokens_per_s_p50, tokens_per_s_min, tpot_mean_s,
  itl_mean_s, itl_p50_s, itl_p95_s, itl_p99_s, itl_max_s, itl_chunks,
  e2e_mean_s, e2e_p50_s, e2e_p95_s, e2e_p99_s, e2e_max_s,
  output_tokens, prompt_tokens, chunks,
  prefill_tokens_per_s,                          -- prompt tokens that no cache spared / prefill time of their requests, by the server's own clock; NULL where it counts neither
  prompt_tokens_mean, output_tokens_mean, asked_output_tokens_mean, prompts_cut, replies_cut,  -- of the completed requests; those that were cut are not good
  tokens_per_chunk, draft_acceptance_ratio,      -- of the completed requests; NULL where the server does not count
  CASE WHEN completed > 0 THEN output_tokens END * 1e9
    / nullif(level.ended_ns - level.started_ns, 0) AS output_tokens_per_s,  -- of all streams together, also of those that failed half-way; NULL where none completed: nobody was served
  completed * 1e9 / nullif(level.ended_ns - level.started_ns, 0) AS requests_per_s,  -- completed requests / duration_s, of every kind of load
  (level.ended_ns - level.started_ns) / 1e9 AS duration_s,
  peak_streaming,
  good_requests, good_ratio,  -- met every objective of the run, and their share of those that could be judged; NULL where none could be, as of replies in one piece
  good_ratio_low, good_ratio_high,
  undecided_requests,                            -- this client cut them before they had missed an objective; above 5 % of the requests nobody can say that the level was served
  good_requests * 1e9 / nullif(CASE WHEN steady_end_ns > steady_start_ns THEN steady_end_ns - steady_start_ns
    ELSE level.ended_ns - level.started_ns END, 0) AS goodput_per_s,
  ttft_mean_low_s, ttft_mean_high_s, tokens_per_s_mean_low, tokens_per_s_mean_high, interval_basis, interval_n,
  client_send_skew_s, client_send_lag_p50_s, client_send_lag_p99_s, client_send_lag_max_s, client_read_lag_p99_s, client_read_lag_source,
  client_stamps, client_stall_p99_s, client_paused_s, slept_s, client_held_s, client_digest_lag_max_s, client_cpu_ratio, clock_uncertainty_s, client_limited, client_limited_why,
  in_flight_mean, in_flight_peak, level.on_battery, level.low_power_mode,
  (SELECT count(*) FROM target WHERE target.run_id = level.run_id AND target.model = level.model) AS hosts,  -- servers that the requests were spread over
  level.balance,
  level.think_time_s, level.think_law, level.patience_s,
  level.asked_prompt_tokens, level.prompt_mix,
  coalesce(abandoned, 0) AS abandoned,           -- requests whose people left before a first token; they are among the errors
  think_mean_s,                                  -- people: the mean of what they thought, seconds
  people_law, people_law_low, people_law_high,
  level.wasted_tokens, level.trial, level.probe_rate_per_s,
  level.cache, CASE WHEN level.think_time_s IS NULL THEN level.load ELSE 'people' END AS load,  -- burst, closed, open or people
  level.rate_per_s, level.trace, level.trace_kind, level.trace_speed, level.trace_too_long, level.pool_waits, level.never_sent, coalesce(level.is_control, 0) AS is_control,
  level.arrival_cv, level.queue_growth_per_s, level.queue_growth_low_per_s, level.queue_growth_high_per_s,
  server_gone_s, offered_per_s, answered_per_s, open_load.saturated,  -- open load, as in open_load; NULL of others
  (SELECT superseded FROM level_standing WHERE level_standing.level_id = level.id) AS superseded,
  level.id AS level_id
FROM level JOIN run ON run.id = level.run_id
LEFT JOIN good ON good.level_id = level.id
LEFT JOIN failing ON failing.level_id = level.id
LEFT JOIN open_load ON open_load.level_id = level.id
LEFT JOIN total ON total.level_id = level.id
LEFT JOIN latency ON latency.level_id = level.id
LEFT JOIN level_streaming ON level_streaming.level_id = level.id;

DROP VIEW IF EXISTS host_summary;
CREATE VIEW host_summary AS  -- each level by host: is one more server better than one more slot? The level's own figures are those of all hosts
WITH edge (level_id, target_id, at_ns, step) AS (
  SELECT level_id, target_id, sent_ns, 1 FROM request WHERE sent_ns IS NOT NULL
  UNION ALL SELECT level_id, target_id, ended_ns, -1 FROM request WHERE sent_ns IS NOT NULL AND ended_ns IS NOT NULL
), flying AS (
  SELECT level_id, target_id, sum(step) OVER (PARTITION BY level_id, target_id ORDER BY at_ns, step
    ROWS UNBOUNDED PRECEDING) AS in_flight,
    lead(at_ns) OVER (PARTITION BY level_id, target_id ORDER BY at_ns, step) - at_ns AS lasted_ns FROM edge
), peak AS (
  SELECT level_id, target_id, max(in_flight) AS in_flight_peak,
    sum(CASE WHEN in_flight > 0 THEN lasted_ns END) / 1e9 AS busy_s FROM flying GROUP BY level_id, target_id
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated, target.host, target.api,
  target.slots,
  count(*) AS requests, sum(request.status = 'completed') AS completed,
  sum(request.status NOT IN ('completed', 'in_flight')) AS errors,
  avg(CASE WHEN request.status = 'completed' AND judged_request.request_id IS NOT NULL THEN ttft_s END) AS ttft_mean_s,  -- of the judged requests, as the level's
  avg(CASE WHEN request.status = 'completed' AND judged_request.request_id IS NOT NULL THEN stream_tokens_per_s END) AS tokens_per_s_mean,  -- of the judged requests, as the level's
  sum(output_tokens) AS output_tokens,
  CASE WHEN sum(request.status = 'completed') > 0 THEN sum(output_tokens) END * 1e9
    / nullif(level.ended_ns - level.started_ns, 0) AS output_tokens_per_s,  -- of this host / the time of the whole level: its part of the level's
  max(peak.busy_s) AS busy_s,                    -- how long the host had at least one request in flight, seconds
  CASE WHEN sum(request.status = 'completed') > 0 THEN sum(output_tokens) END
    / nullif(max(peak.busy_s), 0) AS busy_tokens_per_s,  -- output tokens of this host / busy_s: how fast it is itself
  max(peak.in_flight_peak) AS in_flight_peak,    -- requests in flight there at a time, the most
  sum(request.status IN ('refused', 'reset')) AS lost,  -- requests that could not be sent or whose line broke, as of a server that died
  level.cache, level.probe_rate_per_s, level.id AS level_id
FROM request JOIN level ON level.id = request.level_id JOIN run ON run.id = level.run_id JOIN target ON target.id = request.target_id
LEFT JOIN judged_request ON judged_request.request_id = request.id
LEFT JOIN peak ON peak.level_id = level.id AND peak.target_id = target.id
GROUP BY level.id, target.id;

DROP VIEW IF EXISTS steady_summary;
CREATE VIEW steady_summary AS  -- loads that go on: only the part in which they neither filled nor drained
WITH steady AS (
  SELECT level.id AS level_id, request.id AS request_id, coalesce(due_ns, sent_ns, request.ended_ns) BETWEEN steady_start_ns AND steady_end_ns AS is_inside,
    request.status AS request_status, request.ended_ns AS request_ended_ns, ttft_s, stream_tokens_per_s,
    CASE WHEN first_text_ns >= steady_start_ns AND last_text_ns <= steady_end_ns THEN output_tokens
      ELSE output_tokens * 1.0 / chunks * (SELECT count(*) FROM chunk WHERE request_id = request.id
        AND at_ns BETWEEN steady_start_ns AND steady_end_ns) END AS inside_tokens  -- of who streamed over an edge: tokens per chunk
  FROM request JOIN level ON level.id = level_id
  WHERE steady_end_ns > steady_start_ns
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  (steady_end_ns - steady_start_ns) / 1e9 AS duration_s,
  sum(is_inside) AS requests, sum(is_inside AND request_status = 'completed') AS completed,  -- asked in that part
  sum(is_inside AND request_status NOT IN ('completed', 'in_flight')) AS errors,
  avg(CASE WHEN is_inside AND request_status = 'completed' THEN ttft_s END) AS ttft_mean_s,
  avg(CASE WHEN is_inside AND request_status = 'completed' THEN stream_tokens_per_s END) AS tokens_per_s_mean,
  CASE WHEN sum(is_inside AND request_status = 'completed') > 0 THEN sum(inside_tokens) END * 1e9
    / (steady_end_ns - steady_start_ns) AS output_tokens_per_s,  -- as in level_summary
  sum(request_status = 'completed' AND request_ended_ns > steady_start_ns AND request_ended_ns <= steady_end_ns) * 1e9
    / (steady_end_ns - steady_start_ns) AS requests_per_s,  -- completed in that part / duration_s
  level.cache, level.id AS level_id
FROM steady JOIN level ON level.id = steady.level_id JOIN run ON run.id = level.run_id
GROUP BY level.id;

DROP VIEW IF EXISTS cache_effect;
CREATE VIEW cache_effect AS  -- the same level with a prompt cache that misses and one that hits (--cache both)
WITH hits AS (  -- of the replies in which the server counted them
  SELECT level_id, sum(cached_tokens) * 1.0 / nullif(sum(prompt_tokens), 0) AS cached_ratio
  FROM request WHERE status = 'completed' AND cached_tokens IS NOT NULL GROUP BY level_id
)
SELECT cold.run_id, cold.model, cold.concurrency, cold.repeat, cold.simulated,
  cold.requests + warm.requests AS requests, cold.errors + warm.errors AS errors,
  cold.ttft_mean_s AS cold_ttft_mean_s, warm.ttft_mean_s AS warm_ttft_mean_s,
  1 - warm.ttft_mean_s / cold.ttft_mean_s AS ttft_saved_ratio,
  cold.output_tokens_per_s AS cold_output_tokens_per_s, warm.output_tokens_per_s AS warm_output_tokens_per_s,
  cold_hits.cached_ratio AS cold_cached_ratio, warm_hits.cached_ratio AS warm_cached_ratio,
  cold.level_id AS cold_level_id, warm.level_id AS warm_level_id
FROM level_summary AS cold JOIN level_summary AS warm
  ON warm.run_id = cold.run_id AND warm.model = cold.model AND warm.concurrency = cold.concurrency
  AND warm.repeat = cold.repeat AND cold.cache = 'cold' AND warm.cache = 'warm'
  AND (warm.asked_prompt_tokens, warm.prompt_mix) IS (cold.asked_prompt_tokens, cold.prompt_mix)
LEFT JOIN hits AS cold_hits ON cold_hits.level_id = cold.level_id
LEFT JOIN hits AS warm_hits ON warm_hits.level_id = warm.level_id
WHERE cold.status = 'finished' AND warm.status = 'finished' AND NOT cold.is_control AND NOT warm.is_control;

DROP VIEW IF EXISTS turn_summary;
CREATE VIEW turn_summary AS  -- each level by turn of its conversations: how long each turn waits, and what the prompt cache spares it
WITH first_speed AS (  -- prompt tokens per ns of prefill where nothing is cached: first turns whose prompts have a prefix of their own
  SELECT level_id, target_id, sum(prompt_tokens) * 1.0 / nullif(sum(server_prefill_ns), 0) AS tokens_per_ns
  FROM request JOIN level ON level.id = level_id
  WHERE request.status = 'completed' AND turn = 1 AND cache = 'cold' AND prompt_tokens IS NOT NULL AND server_prefill_ns IS NOT NULL
  GROUP BY level_id, target_id
), asked AS (
  SELECT request.level_id, turn, request.status, ttft_s, prompt_tokens, server_prefill_ns, cached_tokens,
    CASE WHEN cached_tokens IS NOT NULL THEN 'server'
      WHEN turn > 1 AND server_prefill_ns IS NOT NULL AND tokens_per_ns IS NOT NULL THEN 'prefill time' END AS cached_source,
    CASE WHEN cached_tokens IS NOT NULL THEN max(0, prompt_tokens - cached_tokens)
      WHEN turn = 1 AND cache = 'cold' THEN prompt_tokens
      WHEN turn > 1 THEN min(prompt_tokens, server_prefill_ns * tokens_per_ns) END AS evaluated_tokens,
    row_number() OVER (PARTITION BY request.level_id, turn, request.status ORDER BY ttft_s) AS rank,
    count(*) OVER (PARTITION BY request.level_id, turn, request.status) AS n
  FROM request JOIN level ON level.id = request.level_id
  LEFT JOIN first_speed ON first_speed.level_id = request.level_id AND first_speed.target_id IS request.target_id
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated, turn,
  count(*) AS requests, sum(asked.status = 'completed') AS completed,
  sum(asked.status NOT IN ('completed', 'in_flight')) AS errors,
  avg(CASE WHEN asked.status = 'completed' THEN ttft_s END) AS ttft_mean_s,
  max(CASE WHEN asked.status = 'completed' AND rank = (n + 1) / 2 THEN ttft_s END) AS ttft_p50_s,
  avg(CASE WHEN asked.status = 'completed' THEN prompt_tokens END) AS prompt_tokens_mean,  -- mean, cached ones included
  avg(CASE WHEN asked.status = 'completed' THEN evaluated_tokens END) AS evaluated_tokens_mean,  -- mean of those that the cache did not spare; see cached_source
  1 - sum(CASE WHEN asked.status = 'completed' AND cached_source IS NOT NULL THEN evaluated_tokens END)
    / nullif(sum(CASE WHEN asked.status = 'completed' AND cached_source IS NOT NULL THEN prompt_tokens END) * 1.0, 0)
    AS cached_ratio,  -- cached tokens / prompt tokens
  group_concat(DISTINCT CASE WHEN asked.status = 'completed' THEN cached_source END)
    AS cached_source,  -- server: it counts cached tokens; prefill time: estimated, as if the first turns were cached nowhere and the others evaluated at their speed
  avg(CASE WHEN asked.status = 'completed' THEN server_prefill_ns END) / 1e9 AS prefill_s,  -- mean
  sum(CASE WHEN asked.status = 'completed' AND server_prefill_ns IS NOT NULL AND cached_source IS NOT 'prefill time' THEN evaluated_tokens END) * 1e9
    / nullif(sum(CASE WHEN asked.status = 'completed' AND cached_source IS NOT 'prefill time' AND evaluated_tokens IS NOT NULL THEN server_prefill_ns END), 0)
    AS prefill_tokens_per_s,  -- evaluated tokens / prefill time; NULL where they are an estimate made of that time
  level.cache, level.probe_rate_per_s, level.id AS level_id
FROM asked JOIN level ON level.id = asked.level_id JOIN run ON run.id = level.run_id
GROUP BY level.id, turn;

DROP VIEW IF EXISTS outcomes;
CREATE VIEW outcomes AS  -- how the requests of each level ended, with one example of what was said
SELECT level.run_id, level.model, level.concurrency, level.repeat,
  request.ending AS status,
  CASE WHEN request.ending = 'completed' OR request.http_status <> 200 THEN request.http_status END AS http_status,  -- NULL too where it was 200 and the reply failed after it
  count(*) AS requests, min(request.error) AS example, level.probe_rate_per_s, level.id AS level_id
FROM request JOIN level ON level.id = level_id
GROUP BY level.id, 5, 6;

DROP VIEW IF EXISTS server_split;
CREATE VIEW server_split AS  -- where the time of completed requests went, by the server's own clock, means in seconds
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  count(server_total_ns) AS requests,
  avg(server_queue_ns) / 1e9 AS queue_s, avg(server_load_ns) / 1e9 AS load_s,
  avg(server_prefill_ns) / 1e9 AS prefill_s, avg(server_decode_ns) / 1e9 AS decode_s,
  avg(server_total_ns) / 1e9 AS total_s, avg(e2e_s) AS e2e_s, level.id AS level_id
FROM request JOIN level ON level.id = level_id JOIN run ON run.id = level.run_id
WHERE request.status = 'completed' AND server_total_ns IS NOT NULL
GROUP BY level.id;

DROP VIEW IF EXISTS idle_power;
CREATE VIEW idle_power AS  -- mean watts of each source in the run's idle baseline; a resumed run has each source again
SELECT source.run_id, source.watcher, source.name, source.device,
  sum(energy_j * 1.0 * (min(end_ns, idle_end_ns) - max(start_ns, idle_start_ns)) / (end_ns - start_ns))
    * 1e9 / nullif(sum(min(end_ns, idle_end_ns) - max(start_ns, idle_start_ns)), 0) AS idle_w
FROM power_source AS source JOIN run ON run.id = source.run_id
JOIN power_sample ON source_id = source.id AND end_ns > idle_start_ns AND start_ns < idle_end_ns
WHERE energy_j IS NOT NULL
GROUP BY source.run_id, source.watcher, source.name, source.device;

DROP VIEW IF EXISTS energy_by_source;
CREATE VIEW energy_by_source AS  -- energy of each level and source: sample energy times its overlap with the level; NULL when samples cover less than 95 %
WITH overlap AS (  -- of samples that overlap each other only what each adds: a moment counts once
  SELECT level.id AS level_id, power_source.kind AS source_kind, power_sample.*,
    max(0, min(power_sample.end_ns, level.ended_ns) - max(start_ns, level.started_ns,
      coalesce(lag(power_sample.end_ns) OVER (PARTITION BY level.id, source_id ORDER BY power_sample.end_ns), start_ns))) AS shared_ns,
    CASE WHEN system_power_w > 1.001 * coalesce(energy_j * 1e9 / (power_sample.end_ns - start_ns), 0)
      THEN system_power_w END AS own_system_w    -- not where the sensor only repeats the sum of the others
  FROM level JOIN power_source ON power_source.run_id = level.run_id
  JOIN power_sample ON source_id = power_source.id
    AND power_sample.end_ns > level.started_ns AND start_ns < level.ended_ns
  WHERE level.ended_ns > level.started_ns
), summed AS (
  SELECT level_id, source_id, count(*) AS samples,
    sum(CASE WHEN energy_j IS NOT NULL THEN shared_ns END) AS covered_ns,
    sum(energy_j * shared_ns / (end_ns - start_ns)) AS energy_j,
    sum(CASE WHEN gpu_energy_j IS NOT NULL THEN shared_ns END) AS gpu_covered_ns,
    sum(gpu_energy_j * shared_ns / (end_ns - start_ns)) AS gpu_energy_j,
    sum(CASE WHEN own_system_w IS NOT NULL THEN shared_ns END) AS system_covered_ns,
    sum(own_system_w * shared_ns) / 1e9 AS system_energy_j,
    max(CASE WHEN end_ns - start_ns >= 500000000 OR source_kind = 'interval' THEN power_w END) AS max_w,  -- counters step: short differences exaggerate
    sum(gpu_mhz * shared_ns) / sum(CASE WHEN gpu_mhz IS NOT NULL THEN shared_ns END) AS mean_gpu_mhz,
    sum(gpu_busy_ratio * shared_ns) / sum(CASE WHEN gpu_busy_ratio IS NOT NULL THEN shared_ns END) AS mean_gpu_busy_ratio
  FROM overlap GROUP BY level_id, source_id
), known AS (  -- what samples leave open is counted like the rest, up to 5 %
  SELECT level_id, source_id, samples, max_w, mean_gpu_mhz, mean_gpu_busy_ratio, length_ns,
    coalesce(covered_ns, 0) * 1.0 / length_ns AS coverage_ratio,
    gpu_covered_ns * 1.0 / length_ns AS gpu_coverage_ratio,
    CASE WHEN covered_ns >= 0.95 * length_ns THEN energy_j * length_ns / covered_ns END AS energy_j,
    CASE WHEN gpu_covered_ns >= 0.95 * length_ns THEN gpu_energy_j * length_ns / gpu_covered_ns END AS gpu_energy_j,
    CASE WHEN system_covered_ns >= 0.95 * length_ns THEN system_energy_j * length_ns / system_covered_ns END AS system_energy_j
  FROM summed JOIN (SELECT id, ended_ns - started_ns AS length_ns FROM level) AS span ON span.id = level_id
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  source.name AS source, source.device, source.kind, known.samples, coverage_ratio, energy_j, idle_power.idle_w,
  CASE WHEN energy_j >= idle_w * length_ns / 1e9 THEN energy_j - idle_w * length_ns / 1e9 END AS net_energy_j,  -- without what idling would have taken; NULL where idling took more
  gpu_energy_j, energy_j * 1e9 / length_ns AS mean_w, max_w, mean_gpu_mhz, mean_gpu_busy_ratio,
  gpu_energy_j * 1e9 / length_ns AS gpu_power_w,
  gpu_coverage_ratio,                            -- part of the level that samples of the GPU's energy cover, 0 to 1
  system_energy_j,                               -- joules of the whole machine, by a sensor of its own
  system_energy_j * 1e9 / length_ns AS system_power_w,  -- mean watts of the whole machine
  (1 - coverage_ratio) * length_ns / 1e9 * (
    SELECT max(CASE WHEN end_ns - start_ns >= 500000000 OR source.kind = 'interval' THEN power_w END)
    FROM power_sample WHERE source_id = known.source_id) AS uncovered_most_j,  -- the most joules that moments without a sample can hide: as if the highest power of the run lasted
  coalesce(source.machine_id, run.machine_id) AS machine_id,
  coalesce(source.watcher, '') AS watcher,       -- the worker of a fleet that read it; '': bench.py
  level.id AS level_id, source.id AS source_id
FROM known JOIN level ON level.id = level_id JOIN run ON run.id = level.run_id
JOIN power_source AS source ON source.id = known.source_id
LEFT JOIN idle_power ON idle_power.run_id = source.run_id AND idle_power.watcher IS source.watcher
  AND idle_power.name = source.name AND idle_power.device = source.device;

DROP VIEW IF EXISTS server_machine;
CREATE VIEW server_machine AS  -- the computers whose energy counts in each run: those of its servers where a fleet knows one, else that of bench.py
WITH told (run_id) AS (SELECT DISTINCT run_id FROM target WHERE machine_id IS NOT NULL)
SELECT run_id, CASE WHEN machine_id IS NOT NULL THEN coalesce(watcher, '') END AS watcher,  -- the worker of a fleet that watches it; '': bench.py; NULL: nobody
  machine_id,                                    -- NULL: the computer of this server is not known
  group_concat(DISTINCT host) AS hosts,          -- the servers that run on it
  machine_id AS told_id                          -- machine_id of these servers in target: NULL where nobody told
FROM target WHERE run_id IN (SELECT run_id FROM told)
GROUP BY run_id, machine_id, CASE WHEN machine_id IS NULL THEN host ELSE coalesce(watcher, '') END
UNION ALL
SELECT id, '', machine_id, (SELECT group_concat(DISTINCT host) FROM target WHERE run_id = run.id), NULL
FROM run WHERE id NOT IN (SELECT run_id FROM told);

DROP VIEW IF EXISTS gpu_summary;
CREATE VIEW gpu_summary AS  -- the GPU in each level: means weighted by time, as in energy_by_source; least and most of the n samples at least half inside
WITH by_source AS (
  SELECT energy_by_source.* FROM energy_by_source JOIN server_machine USING (run_id, watcher)
), average (level_id, metric, source, mean) AS (  -- several GPUs: their watts together, clocks and busy shares on average
  SELECT level_id, 'gpu_power_w', group_concat(source || ' ' || device, ' + '), sum(gpu_power_w) FROM by_source
    WHERE gpu_power_w IS NOT NULL GROUP BY level_id
  UNION ALL SELECT level_id, 'gpu_mhz', group_concat(source || ' ' || device, ' + '), avg(mean_gpu_mhz) FROM by_source
    WHERE mean_gpu_mhz IS NOT NULL GROUP BY level_id
  UNION ALL SELECT level_id, 'gpu_busy_ratio', group_concat(source || ' ' || device, ' + '), avg(mean_gpu_busy_ratio) FROM by_source
    WHERE mean_gpu_busy_ratio IS NOT NULL GROUP BY level_id
), inside AS (
  SELECT level.id AS level_id, source_id, gpu_power_w, gpu_mhz, gpu_busy_ratio
  FROM level JOIN power_source ON power_source.run_id = level.run_id
  JOIN server_machine ON server_machine.run_id = level.run_id AND server_machine.watcher = coalesce(power_source.watcher, '')
  JOIN power_sample ON source_id = power_source.id AND end_ns > level.started_ns AND start_ns < level.ended_ns
    AND 2 * (min(end_ns, level.ended_ns) - max(start_ns, level.started_ns)) >= end_ns - start_ns
), idle AS (  -- samples in which the GPU did nothing
  SELECT level_id, sum(gpu_busy_ratio < 0.05) AS idle_samples FROM inside GROUP BY level_id
), extreme (level_id, metric, n, min, max) AS (  -- watts of several GPUs are not sampled together: no least and most of their sum
  SELECT level_id, 'gpu_power_w', count(*), CASE WHEN count(DISTINCT source_id) = 1 THEN min(gpu_power_w) END,
    CASE WHEN count(DISTINCT source_id) = 1 THEN max(gpu_power_w) END FROM inside WHERE gpu_power_w IS NOT NULL GROUP BY level_id
  UNION ALL SELECT level_id, 'gpu_mhz', count(*), min(gpu_mhz), max(gpu_mhz) FROM inside WHERE gpu_mhz IS NOT NULL GROUP BY level_id
  UNION ALL SELECT level_id, 'gpu_busy_ratio', count(*), min(gpu_busy_ratio), max(gpu_busy_ratio) FROM inside
    WHERE gpu_busy_ratio IS NOT NULL GROUP BY level_id
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated, average.source, average.metric,
  coalesce(n, 0) AS n, extreme.min, average.mean, extreme.max,
  CASE average.metric WHEN 'gpu_busy_ratio' THEN idle_samples END AS idle_samples, level.id AS level_id
FROM average JOIN level ON level.id = average.level_id JOIN run ON run.id = level.run_id
LEFT JOIN idle ON idle.level_id = average.level_id
LEFT JOIN extreme ON extreme.level_id = average.level_id AND extreme.metric = average.metric;

DROP VIEW IF EXISTS energy_by_machine;
CREATE VIEW energy_by_machine AS  -- energy of each level and computer whose energy counts, all its sources together; NULL when one of them is not known
WITH source_count AS (  -- a device that gave nothing in a level is not known there; macmon goes on with that of a powermetrics that died
  SELECT run_id, coalesce(watcher, '') AS watcher, count(DISTINCT device) AS sources,
    count(DISTINCT CASE WHEN EXISTS (SELECT 1 FROM power_sample WHERE source_id = power_source.id AND gpu_energy_j IS NOT NULL)
      THEN device END) AS gpu_sources
  FROM power_source
  WHERE EXISTS (SELECT 1 FROM power_sample WHERE source_id = power_source.id) GROUP BY run_id, coalesce(watcher, '')
), total AS (
  SELECT level_id, watcher, group_concat(energy_by_source.source || ' ' || device, ' + ') AS source,
    min(coverage_ratio) AS coverage_ratio, min(gpu_coverage_ratio) AS gpu_coverage_ratio,
    sum(uncovered_most_j) AS uncovered_most_j,
    max(system_energy_j) AS system_energy_j, max(system_power_w) AS system_power_w,  -- one machine, whoever read it
    CASE WHEN count(energy_j) = max(sources) THEN sum(energy_j) END AS energy_j,
    CASE WHEN count(idle_w) = max(sources) THEN sum(idle_w) END AS idle_w,
    CASE WHEN count(idle_w) = max(sources) AND count(energy_j) = max(sources) AND sum(mean_w) >= sum(idle_w)
      THEN sum(energy_j) * (1 - sum(idle_w) / nullif(sum(mean_w), 0)) END AS net_energy_j,  -- no less than 0: NULL where idling took more
    CASE WHEN count(mean_w) = max(sources) THEN sum(mean_w) END AS mean_w,
    CASE WHEN count(max_w) = max(sources) THEN sum(max_w) END AS max_w,
    CASE WHEN count(gpu_energy_j) = max(gpu_sources) THEN sum(gpu_energy_j) END AS gpu_energy_j,
    CASE WHEN count(gpu_power_w) = max(gpu_sources) THEN sum(gpu_power_w) END AS gpu_power_w,
    avg(mean_gpu_mhz) AS mean_gpu_mhz, avg(mean_gpu_busy_ratio) AS mean_gpu_busy_ratio, max(gpu_sources) AS gpu_sources
  FROM energy_by_source JOIN source_count USING (run_id, watcher) GROUP BY level_id, watcher
), counted AS (
  SELECT level.id AS level_id, server_machine.machine_id, server_machine.watcher, server_machine.hosts,
    (SELECT sum(output_tokens) FROM request LEFT JOIN target ON target.id = target_id
      WHERE request.level_id = level.id AND coalesce(target.watcher, '') = server_machine.watcher
        AND target.machine_id IS server_machine.told_id) AS output_tokens
  FROM level JOIN server_machine ON server_machine.run_id = level.run_id
  WHERE level.ended_ns > level.started_ns AND level.run_id IN (SELECT run_id FROM source_count)
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  counted.machine_id, counted.watcher, hosts, total.source,
  coalesce(coverage_ratio, 0) AS coverage_ratio,  -- part of the level that power samples cover, 0 to 1; 0: nothing was read
  energy_j, idle_w, net_energy_j, output_tokens,
  energy_j / nullif(output_tokens, 0) AS joules_per_output_token,
  mean_w, max_w, mean_gpu_mhz, mean_gpu_busy_ratio, gpu_energy_j, gpu_power_w, gpu_coverage_ratio,
  gpu_sources,                                   -- GPUs whose energy was read in the run
  system_energy_j, system_power_w, uncovered_most_j, level.id AS level_id
FROM counted JOIN level ON level.id = counted.level_id JOIN run ON run.id = level.run_id
LEFT JOIN total ON total.level_id = level.id AND total.watcher = counted.watcher;

DROP VIEW IF EXISTS energy_summary;
CREATE VIEW energy_summary AS  -- energy of each level, all computers and sources together; NULL when one of them is not known
WITH total AS (
  SELECT level_id,
    group_concat(CASE WHEN watcher <> '' THEN watcher || ': ' ELSE '' END || source, ' + ') AS source,
    min(coverage_ratio) AS coverage_ratio,
    CASE WHEN count(source) = count(*) THEN min(gpu_coverage_ratio) END AS gpu_coverage_ratio,
    sum(uncovered_most_j) AS uncovered_most_j,
    CASE WHEN count(system_energy_j) = count(*) THEN sum(system_energy_j) END AS system_energy_j,
    CASE WHEN count(system_power_w) = count(*) THEN sum(system_power_w) END AS system_power_w,
    CASE WHEN count(energy_j) = count(*) THEN sum(energy_j) END AS energy_j,
    CASE WHEN count(idle_w) = count(*) THEN sum(idle_w) END AS idle_w,
    CASE WHEN count(net_energy_j) = count(*) THEN sum(net_energy_j) END AS net_energy_j,
    CASE WHEN count(mean_w) = count(*) THEN sum(mean_w) END AS mean_w,
    CASE WHEN count(max_w) = count(*) THEN sum(max_w) END AS max_w,
    CASE WHEN count(gpu_energy_j) = count(nullif(gpu_sources, 0)) AND count(source) = count(*) THEN sum(gpu_energy_j) END AS gpu_energy_j,
    CASE WHEN count(gpu_power_w) = count(nullif(gpu_sources, 0)) AND count(source) = count(*) THEN sum(gpu_power_w) END AS gpu_power_w,
    avg(mean_gpu_mhz) AS mean_gpu_mhz, avg(mean_gpu_busy_ratio) AS mean_gpu_busy_ratio
  FROM energy_by_machine GROUP BY level_id HAVING count(source)
), tokens AS (
  SELECT level_id, count(*) AS requests, sum(status NOT IN ('completed', 'in_flight')) AS errors,
    sum(output_tokens) AS output_tokens, sum(prompt_tokens) AS prompt_tokens,
    sum(CASE WHEN output_tokens_source IS NOT 'server' THEN output_tokens ELSE 0 END) AS uncounted_tokens
  FROM request GROUP BY level_id
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  total.source, coverage_ratio, energy_j, idle_w, net_energy_j,
  energy_j / nullif(output_tokens, 0) AS joules_per_output_token,
  net_energy_j / nullif(output_tokens, 0) AS net_joules_per_output_token,
  output_tokens / nullif(energy_j, 0) AS output_tokens_per_joule,
  mean_w, max_w, mean_gpu_mhz, mean_gpu_busy_ratio,
  energy_j / 3600 AS energy_wh,
  gpu_energy_j, gpu_power_w,                     -- of the GPUs alone, known also where the sum with the CPU is not
  gpu_energy_j / nullif(output_tokens, 0) AS gpu_joules_per_output_token,
  system_energy_j,                               -- joules of the whole machine, by a sensor of its own; NULL where that repeats the sum of the others
  system_power_w,                                -- mean watts of the whole machine, by the same sensor
  system_energy_j / nullif(output_tokens, 0) AS system_joules_per_output_token,  -- joules of the whole machine per generated token
  gpu_coverage_ratio,                            -- part of the level that samples of the GPU's energy cover, 0 to 1
  uncovered_most_j,                              -- the most joules that moments without a sample can hide: as if the highest power of the run lasted
  uncounted_tokens,                              -- of output_tokens those that the server did not count: of cut requests, by their chunks
  requests, errors, output_tokens, prompt_tokens, level.id AS level_id
FROM total JOIN level ON level.id = total.level_id JOIN run ON run.id = level.run_id
LEFT JOIN tokens ON tokens.level_id = level.id;

DROP VIEW IF EXISTS level_replies;
CREATE VIEW level_replies AS  -- what the completed replies of each level were like: lengths, cut ones, cache hits, loads
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  count(*) AS requests,
  min(output_tokens) AS min_output_tokens, avg(output_tokens) AS mean_output_tokens, max(output_tokens) AS max_output_tokens,
  sum(done_reason = 'length') AS cut_by_length,  -- replies that ended at the limit of tokens
  max(CASE WHEN lower(reply_model) NOT IN (lower(level.model), lower(level.model) || ':latest')
    AND lower(reply_model) || ':latest' <> lower(level.model) THEN reply_model END) AS other_model,        -- one that replies named and that is not the level's; Ollama's name:latest is name
  sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens,
  max(server_load_ns) / 1e9 AS max_load_s,       -- the longest wait for loading the model
  level.id AS level_id
FROM level JOIN run ON run.id = level.run_id
JOIN request ON level_id = level.id AND request.status = 'completed'
GROUP BY level.id;

DROP VIEW IF EXISTS level_machine;
CREATE VIEW level_machine AS  -- what bench.py's own machine and the server's processes there did during each level
WITH system AS (
  SELECT level.id AS level_id, count(*) AS samples, avg(cpu_ratio) AS mean_cpu_ratio,
    max(memory_used_bytes) AS max_memory_used_bytes,
    max(swap_used_bytes) - min(swap_used_bytes) AS swap_change_bytes
  FROM level JOIN system_sample ON system_sample.run_id = level.run_id AND at_ns BETWEEN level.started_ns AND level.ended_ns
  GROUP BY level.id
), each_process AS (
  SELECT level.id AS level_id, avg(cpu_ratio) AS cpu_cores, max(rss_bytes) AS rss_bytes, max(threads) AS threads, max(fds) AS fds
  FROM level JOIN process ON process.run_id = level.run_id AND process.watcher IS NULL
  JOIN process_sample ON process_id = process.id AND at_ns BETWEEN level.started_ns AND level.ended_ns
  GROUP BY level.id, process.id
), server AS (
  SELECT level_id, count(*) AS processes, sum(cpu_cores) AS cpu_cores, sum(rss_bytes) AS rss_bytes,
    sum(threads) AS threads, sum(fds) AS fds
  FROM each_process GROUP BY level_id
), heat AS (
  SELECT level.id AS level_id, count(thermal) AS thermal_samples,
    sum(lower(thermal) NOT IN ('nominal', 'none', 'ok', '')) AS hot_samples, max(temperature_c) AS max_temperature_c
  FROM level JOIN power_source ON power_source.run_id = level.run_id
  JOIN power_sample ON source_id = power_source.id AND end_ns > level.started_ns AND start_ns < level.ended_ns
  GROUP BY level.id
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  system.samples, system.mean_cpu_ratio, system.max_memory_used_bytes, system.swap_change_bytes,
  server.processes AS server_processes,
  server.cpu_cores AS server_cpu_cores,          -- cores the server's processes kept busy, mean
  server.rss_bytes AS server_max_rss_bytes,      -- their largest resident memory, summed
  server.threads AS server_max_threads, server.fds AS server_max_fds,
  heat.thermal_samples, heat.hot_samples,        -- samples with a word of the system on heat, and those not nominal
  heat.max_temperature_c, level.id AS level_id
FROM level JOIN run ON run.id = level.run_id
LEFT JOIN system ON system.level_id = level.id
LEFT JOIN server ON server.level_id = level.id
LEFT JOIN heat ON heat.level_id = level.id;

DROP VIEW IF EXISTS request_timeline;
CREATE VIEW request_timeline AS  -- when each request waited and was answered, seconds since the run began
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  request.number, request.status, sent_ns / 1e9 AS sent_at_s, first_text_ns / 1e9 AS first_text_at_s,
  first_answer_ns / 1e9 AS first_answer_at_s, last_text_ns / 1e9 AS last_text_at_s,
  coalesce(request.ended_ns, last_text_ns) / 1e9 AS ended_at_s, chunks, reasoning_chunks,
  request.id AS request_id, level.id AS level_id
FROM request JOIN level ON level.id = level_id JOIN run ON run.id = level.run_id
WHERE sent_ns IS NOT NULL;

DROP VIEW IF EXISTS request_evolution;
CREATE VIEW request_evolution AS  -- how many requests of a level wait, are answered, are done or have failed, after each change
WITH edge (level_id, at_ns, waiting, answering, completed, failed) AS (
  SELECT level_id, sent_ns, 1, 0, 0, 0 FROM request WHERE sent_ns IS NOT NULL AND request.ended_ns IS NOT NULL
  UNION ALL SELECT level_id, first_text_ns, -1, 1, 0, 0 FROM request
    WHERE first_text_ns IS NOT NULL AND request.ended_ns IS NOT NULL
  UNION ALL SELECT level_id, request.ended_ns, -(first_text_ns IS NULL), -(first_text_ns IS NOT NULL),
    status = 'completed', status <> 'completed' FROM request WHERE sent_ns IS NOT NULL AND request.ended_ns IS NOT NULL
)
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  (at_ns - level.started_ns) / 1e9 AS at_s,      -- since the level began
  sum(waiting) OVER sofar AS waiting, sum(answering) OVER sofar AS answering,
  sum(completed) OVER sofar AS completed, sum(failed) OVER sofar AS failed, level.id AS level_id
FROM edge JOIN level ON level.id = level_id JOIN run ON run.id = level.run_id
WINDOW sofar AS (PARTITION BY level_id ORDER BY at_ns ROWS UNBOUNDED PRECEDING);

DROP VIEW IF EXISTS power_over_time;
CREATE VIEW power_over_time AS  -- every power sample with its place in the run, seconds since the run began
SELECT run.id AS run_id, run.simulated,
  coalesce(power_source.watcher || ': ', '') || power_source.name || ' ' || power_source.device AS source,
  start_ns / 1e9 AS start_at_s, end_ns / 1e9 AS end_at_s, power_w, gpu_power_w, gpu_mhz, gpu_busy_ratio, thermal
FROM run JOIN power_source ON power_source.run_id = run.id JOIN power_sample ON source_id = power_source.id;

DROP VIEW IF EXISTS process_over_time;
CREATE VIEW process_over_time AS  -- every look at a process with its place in the run, seconds since the run began
SELECT run.id AS run_id, run.simulated, process.pid,
  coalesce(process.watcher || ': ', '') || coalesce(role, name, 'process') || ' ' || process.pid AS process,
  at_ns / 1e9 AS at_s, cpu_ratio, rss_bytes, footprint_bytes, threads, fds
FROM run JOIN process ON process.run_id = run.id JOIN process_sample ON process_id = process.id;

-- The original study's files as views, under their names and with their columns.

DROP VIEW IF EXISTS request_summary;
CREATE VIEW request_summary AS  -- request_summary.csv of the study: one row for each request, seconds
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  request.number AS RequestID, ttft_s AS TTFB, e2e_s AS TotalDuration,
  active_s AS ResponseDuration, ttft_s AS WaitingTime, output_tokens AS TokenCount,
  http_status AS StatusCode, request.ending AS Status, request.id AS request_id, level.id AS level_id
FROM request JOIN level ON level.id = level_id JOIN run ON run.id = level.run_id;

DROP VIEW IF EXISTS request_throughput;
CREATE VIEW request_throughput AS  -- tokens per second of each request between its first and last text
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  request.number AS RequestID,
  strftime('%Y-%m-%dT%H:%M:%fZ', run.started_unix + request.ended_ns / 1e9, 'unixepoch') AS Timestamp,
  output_tokens AS TokenCount, stream_tokens_per_s AS Throughput, request.ending AS Status, request.id AS request_id, level.id AS level_id
FROM request JOIN level ON level.id = level_id JOIN run ON run.id = level.run_id;

DROP VIEW IF EXISTS duration_metrics;
CREATE VIEW duration_metrics AS  -- duration_metrics.csv: time from first to last text of the completed requests, seconds
SELECT level.run_id, level.model, level.repeat, run.simulated,
  strftime('%Y-%m-%dT%H:%M:%fZ', run.started_unix + level.ended_ns / 1e9, 'unixepoch') AS Timestamp,
  level.concurrency AS Concurrency, max AS MaxDuration, min AS MinDuration, mean AS AvgDuration,
  p99 AS P99Duration, coalesce(n, 0) AS n,  -- P99Duration is NULL below 100 values
  (SELECT count(*) FROM request WHERE level_id = level.id) AS requests,
  (SELECT count(*) FROM request WHERE level_id = level.id AND request.status NOT IN ('completed', 'in_flight')) AS errors,
  level.id AS level_id
FROM level JOIN run ON run.id = level.run_id
LEFT JOIN level_percentiles ON level_id = level.id AND metric = 'active_s';

DROP VIEW IF EXISTS gpu_metrics;
CREATE VIEW gpu_metrics AS  -- gpu_metrics.csv: the GPU's samples that overlap a level
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  strftime('%Y-%m-%dT%H:%M:%fZ', run.started_unix + power_sample.end_ns / 1e9, 'unixepoch') AS Timestamp,
  gpu_busy_ratio * 100 AS "Usage%", gpu_power_w AS "Power(W)", gpu_mhz AS "Frequency(MHz)",
  thermal, power_source.name AS source, power_source.device, power_sample.end_ns AS at_ns, level.id AS level_id
FROM level JOIN run ON run.id = level.run_id
JOIN power_source ON power_source.run_id = run.id
JOIN power_sample ON source_id = power_source.id
  AND power_sample.end_ns > level.started_ns AND start_ns < level.ended_ns
WHERE coalesce(gpu_busy_ratio, gpu_power_w, gpu_mhz) IS NOT NULL;

DROP VIEW IF EXISTS process_metrics;
CREATE VIEW process_metrics AS  -- process_PID_metrics.csv: the server's processes within a level; VSZ and RSS in KiB
SELECT level.run_id, level.model, level.concurrency, level.repeat, run.simulated,
  strftime('%Y-%m-%dT%H:%M:%fZ', run.started_unix + at_ns / 1e9, 'unixepoch') AS Timestamp,
  process.pid AS PID, cpu_ratio * 100 AS "CPU%", memory_ratio * 100 AS "MEM%", threads AS Threads, fds AS FDs,
  vms_bytes / 1024 AS VSZ, rss_bytes / 1024 AS RSS, footprint_bytes, role, name, at_ns, process.watcher, level.id AS level_id
FROM level JOIN run ON run.id = level.run_id
JOIN process ON process.run_id = run.id
JOIN process_sample ON process_id = process.id AND at_ns BETWEEN level.started_ns AND level.ended_ns;
