"""What the columns mean that views compute: those of tables are described in schema.sql."""

from __future__ import annotations

WORDS = {  # columns that views compute, and keys
    "id": "number of the row",
    "run_id": "number of the run",
    "level_id": "number of the level",
    "request_id": "number of the request",
    "target_id": "number of the target, a model on a server",
    "machine_id": "number of the machine",
    "source_id": "number of the power source",
    "process_id": "number of the row of the process",
    "model": "the model as asked for",
    "started_utc": "when the run began, UTC",
    "duration_s": "time from beginning to end",
    "models": "models measured",
    "levels_finished": "levels that were measured to the end",
    "requests": "requests counted in this row",
    "chip": "processor as the system names it",
    "gpu": "graphics processors",
    "os": "system, release and architecture",
    "metric": (
        "which latency (ttft_s, ttfat_s, e2e_s, active_s, tpot_s: seconds) or rate (tokens_per_s)"
    ),
    "n": "values that the statistics rest on",
    "mean": "arithmetic mean, in the metric's unit",
    "min": "the least value, in the metric's unit",
    "p50": "median, nearest rank, in the metric's unit",
    "p95": "95th percentile, nearest rank, in the metric's unit; NULL below 20 values",
    "p99": "99th percentile, nearest rank, in the metric's unit; NULL below 100 values",
    "max": "the most, in the metric's unit",
    "peak_streaming": (
        "the most requests that were answered at the same time: the server's slots seen "
        "from outside; NULL where more than a tenth of the replies came in one piece"
    ),
    "in_flight": "requests that have not ended",
    "completed": "requests that ended with a whole answer",
    "judged_completed": (
        "completed requests that waits and speeds are of: of a load that goes on, those "
        "asked in its steady part"
    ),
    "errors": "requests that ended in any other way than completed",
    "error_ratio": "errors / (completed + errors), 0 to 1",
    "prompt_tokens": "tokens of the prompts",
    "chunks": "chunks with text",
    "hosts": "servers that the requests were spread over",
    "lost": "requests that could not be sent there or whose line broke, as of a server that died",
    "not_sent": "requests of the level that were due and never sent",
    "due": "requests that came due once the slots were filled, until the last one was due, or "
    "until the server was heard last that answered nothing more",
    "answered": "requests that were completed in that time",
    "offered_per_s": "requests per second that came due, once the slots were filled until the "
    "last one was due; open load only",
    "answered_per_s": "requests per second that were completed in the same time; open load only",
    "server_gone_s": "seconds of the level after which the server answered nothing more: it "
    "refused, broke or was silent, which is no saturation; NULL where it did not, or no open load",
    "saturated": "1: the queue was seen to grow, or at least 10 % and more than 2 * sqrt(due) "
    "fewer requests were answered than came due, or, where fewer than 5 came due in that "
    "time, so many of all were never sent; NULL where nobody can tell, or no open load",
    "undecided_requests": "requests that this client cut before they had missed an objective; "
    "above 5 % of a level it is not called served",
    "ttft_mean_s": "wait for the first token, mean",
    "ttft_p50_s": "wait for the first token, median",
    "ttft_p95_s": "wait for the first token, 95th percentile; NULL below 20 requests",
    "ttft_p99_s": "wait for the first token, 99th percentile; NULL below 100 requests",
    "ttft_max_s": "wait for the first token, longest",
    "ttfat_mean_s": "wait for the first token of the answer, after any reasoning, mean",
    "tokens_per_s_mean": "tokens per second of one request, mean",
    "tokens_per_s_p50": "tokens per second of one request, median",
    "tokens_per_s_min": "tokens per second of the slowest request",
    "tpot_mean_s": "time per output token, mean",
    "e2e_mean_s": "from sending to the last text, mean",
    "e2e_p50_s": "from sending to the last text, median",
    "e2e_p95_s": "from sending to the last text, 95th percentile; NULL below 20 requests",
    "e2e_p99_s": "from sending to the last text, 99th percentile; NULL below 100 requests",
    "e2e_max_s": "from sending to the last text, longest",
    "output_tokens": "tokens generated",
    "output_tokens_per_s": (
        "tokens per second of all streams together, also of those that failed half-way; "
        "NULL where no request completed"
    ),
    "tokens_per_chunk": (
        "tokens that share a chunk, mean; NULL where the server counts no tokens"
    ),
    "draft_acceptance_ratio": (
        "share of the draft's tokens that the model kept, 0 to 1; NULL without a draft"
    ),
    "other_model": (
        "a model that replies named and that is not the one asked for; NULL without any"
    ),
    "prompt_tokens_mean": "tokens of a completed request's prompt, cached ones included, mean",
    "asked_output_tokens_mean": (
        "tokens that a completed request's reply was allowed at most, mean; NULL: no limit"
    ),
    "output_tokens_mean": "tokens of a completed request's reply, mean",
    "prompts_cut": "completed requests whose prompt the server cut; none of them is good",
    "replies_cut": "completed requests whose reply ended with the context; none of them is good",
    "full_load_tokens_per_s": (
        "tokens per second of all streams together while at least 90 % of the most streams "
        "were active, or in the steady part of a load that goes on; NULL in a burst whose "
        "replies came in one piece"
    ),
    "requests_per_s": "completed requests per second",
    "abandoned": "requests whose people left before a first token; they are among the errors",
    "think_mean_s": "people: how long they thought before a question, mean",
    "example": "one of the errors, in the server's words",
    "queue_s": "waiting for a slot by the server's clock, mean",
    "load_s": "loading the model by the server's clock, mean",
    "prefill_s": "evaluating the prompt by the server's clock, mean",
    "evaluated_tokens_mean": (
        "tokens of a prompt that did not come from the prompt cache, mean; see cached_source"
    ),
    "cached_ratio": "share of the prompt tokens that came from the prompt cache, 0 to 1",
    "cached_source": (
        "how cached_ratio is known: server, by its own count; prefill time, estimated as if the "
        "first turns were evaluated whole and what the others evaluated took as long each token"
    ),
    "prefill_tokens_per_s": (
        "evaluated tokens per second of prefill; NULL where they are only known from that time"
    ),
    "decode_s": "generating by the server's clock, mean",
    "total_s": "the whole request by the server's clock, mean",
    "idle_w": "mean power in the idle baseline",
    "coverage_ratio": "share of the level that samples cover, 0 to 1",
    "energy_j": "energy of the level; NULL when samples cover less than 95 % of it",
    "net_energy_j": "energy of the level less what idling would have taken; "
    "NULL where idling took more",
    "gpu_coverage_ratio": "share of the level that samples of the GPU's energy cover, 0 to 1",
    "system_energy_j": "energy of the whole machine, by a sensor of its own; "
    "NULL where that repeats the sum of the others",
    "system_joules_per_output_token": "energy of the whole machine per generated token",
    "uncovered_most_j": "the most energy that moments without a sample can hide: "
    "as if the highest power of the run lasted",
    "idle_samples": "of the n samples those in which the GPU was busy for less than 5 %",
    "uncounted_tokens": "of the generated tokens those that the server did not count: "
    "of cut requests, by their chunks",
    "mean_w": "mean power during the level",
    "max_w": "highest power of a sample of the level",
    "mean_gpu_mhz": "mean GPU clock",
    "mean_gpu_busy_ratio": "share of the time the GPU was busy, 0 to 1",
    "samples": "samples counted",
    "gpu_energy_j": "energy of the GPUs alone; NULL when samples cover less than 95 % of the level",
    "gpu_joules_per_output_token": "energy of the GPUs alone / the level's output tokens, joules",
    "joules_per_output_token": "energy of the level / the level's output tokens, joules",
    "net_joules_per_output_token": (
        "energy of the level less idle power / the level's output tokens, joules"
    ),
    "output_tokens_per_joule": "output tokens of the level / the level's energy in joules",
    "energy_wh": "energy of the level, watt hours",
    "min_output_tokens": "tokens of the shortest reply",
    "mean_output_tokens": "tokens of a reply, mean",
    "max_output_tokens": "tokens of the longest reply",
    "cut_by_length": "replies that ended at the limit of tokens",
    "cached_tokens": "prompt tokens taken from the prompt cache",
    "max_load_s": "the longest wait for loading the model",
    "mean_cpu_ratio": "share of all cores busy, mean, 0 to 1",
    "max_memory_used_bytes": "most physical memory in use",
    "swap_change_bytes": "largest less smallest swap in use during the level",
    "server_processes": "processes of the server that were seen",
    "server_cpu_cores": "cores that the server's processes kept busy, mean",
    "server_max_rss_bytes": "largest resident memory of each of the server's processes, summed",
    "server_max_threads": "most threads of each of the server's processes, summed",
    "server_max_fds": "most open files of each of the server's processes, summed",
    "thermal_samples": "samples that carry the system's word on heat",
    "hot_samples": "samples in which the system's word on heat is not nominal",
    "max_temperature_c": "highest temperature, degrees Celsius",
    "sent_at_s": "when the request was sent, seconds since the run began",
    "first_text_at_s": "when the first text came, seconds since the run began",
    "first_answer_at_s": "when the answer began, seconds since the run began",
    "last_text_at_s": "when the last text came, seconds since the run began",
    "ended_at_s": "when the request ended, seconds since the run began",
    "at_s": "the moment, seconds since the level or the run began",
    "waiting": "requests that wait for their first text",
    "answering": "requests whose text is coming",
    "failed": "requests that have failed",
    "start_at_s": "when the sample begins, seconds since the run began",
    "end_at_s": "when the sample ends, seconds since the run began",
    "power_w": "mean power of the sample",
    "gpu_power_w": "mean power of the GPU",
    "process": "role or name of the process, with the pid",
    "pid": "number of the process",
    "threads": "threads of the process",
    "detail": "what happened, in words",
    "at_ns": "instant, nanoseconds since the run began",
    "memory_used_bytes": "physical memory not available to programs",
    "swap_used_bytes": "swap in use",
    "RequestID": "number of the request within its level, from 1",
    "TTFB": "wait for the first token",
    "TotalDuration": "from sending to the last text",
    "ResponseDuration": "from the first to the last text",
    "WaitingTime": "wait for the first token",
    "TokenCount": "output tokens of the request",
    "StatusCode": "HTTP status of the answer",
    "Timestamp": "end of the request, level or sample, UTC",
    "Throughput": "tokens per second between first and last text",
    "Concurrency": "requests in flight at once",
    "MaxDuration": "longest time from first to last text",
    "MinDuration": "shortest time from first to last text",
    "AvgDuration": "mean time from first to last text",
    "P99Duration": (
        "99th percentile of the time from first to last text; NULL below 100 values (the "
        "original wrote the longest)"
    ),
    "Usage%": "share of the time the GPU was busy, per cent",
    "Power(W)": "mean power of the GPU",
    "Frequency(MHz)": "clock of the GPU",
    "PID": "number of the process",
    "CPU%": "CPU time of the process, per cent of one core",
    "MEM%": "resident memory of the process, per cent of the physical memory",
    "Threads": "threads of the process",
    "FDs": "open files of the process; NULL when not permitted",
    "VSZ": "virtual memory of the process, KiB",
    "RSS": "resident memory of the process, KiB; on macOS without most GPU memory",
    "temperature_c": "temperature, degrees Celsius",
    "ttft_p95_with_errors_s": (
        "wait for the first token, 95th percentile with failures as infinite; NULL where "
        "that is the answer"
    ),
    "ttft_p99_with_errors_s": (
        "wait for the first token, 99th percentile with failures as infinite; NULL where "
        "that is the answer"
    ),
    "good_requests": (
        "requests that met every objective of the run; NULL where no request could be judged"
    ),
    "good_ratio": (
        "share of the requests that met every objective of the run, 0 to 1, of those that"
        " could be judged; NULL where none could be"
    ),
    "goodput_per_s": "requests per second that met every objective of the run",
    "cold_ttft_mean_s": "mean wait for the first token with a prompt cache that misses",
    "warm_ttft_mean_s": "mean wait for the first token with a prompt cache that hits",
    "ttft_saved_ratio": "share of the wait that the cache saves, 0 to 1",
    "cold_output_tokens_per_s": "tokens per second of all streams together, cold prompt cache",
    "warm_output_tokens_per_s": "tokens per second of all streams together, warm prompt cache",
    "cold_level_id": "number of the level with the cold prompt cache",
    "warm_level_id": "number of the level with the warm prompt cache",
    "superseded": (
        "1: cut short or slept through, and measured again to its end by --resume: leave it out"
    ),
    "is_warm_twin": (
        "1: the same level was measured with a prompt cache that misses, too (--cache both)"
    ),
    "cold_cached_ratio": (
        "share of the prompt tokens that the cold level took from the prompt cache, 0 to "
        "1; NULL when the server does not tell"
    ),
    "warm_cached_ratio": (
        "share of the prompt tokens that the warm level took from the prompt cache, 0 to "
        "1; near the cold one, it did not hit"
    ),
}
# Columns with a meaning of their own in one view: words, or the column of a table that has them.
HERE = {
    "demand_summary.metrics": "what a request must meet together: columns of request",
    "judged_objective.strain": (
        "how near to its bound the request came: value / bound (for tokens_per_s bound / "
        "value), 1 is at it; 1e9 it failed or was cut by the context"
    ),
    "judged_objective.met": "1: the request met the objective; 0: it missed it, failed, or the "
    "context cut it; NULL: bench.py cut it before that could be told",
    "judged_objective.is_unknown": "1: a reply of several tokens came in one piece, so that its "
    "speed is not known; met is 0 then",
    "demand_summary.good_requests": "requests that met all of these objectives",
    "demand_summary.good_ratio": "share of the requests that met all of these objectives, 0 to 1, "
    "of those that could be judged",
    "level_summary.load": (
        "burst: all at once; closed: a finished one is replaced at once; open: they come at a "
        "rate; people: each thinks think_time_s between a reply and the next question"
    ),
    "host_summary.output_tokens_per_s": (
        "output tokens of this host per second of the whole level: its part of the level's"
    ),
    "host_summary.busy_s": "how long the host had at least one request in flight, seconds",
    "host_summary.busy_tokens_per_s": (
        "output tokens per second of busy_s: how fast the host is itself, however long the level "
        "was; NULL where no request completed"
    ),
    "host_summary.in_flight_peak": "requests in flight there at the same time, the most",
    "level_waiting.waiting_s": "how long at least one request waited for its first text, seconds",
    "level_waiting.waiting_for_slot_s": (
        "how long at least one request waited while no prompt was evaluated, by the server's own "
        "figures, seconds; NULL where it does not say"
    ),
    "full_load.duration_s": "how long the load was full, seconds",
    "full_load.output_tokens": "output tokens that came while the load was full",
    "runs.source": "run.source",
    "runs.status": (
        "finished, running, failed, or interrupted: also a run without a sign of life for 15 s"
    ),
    "runs.requests": "requests of the run",
    "level_summary.status": "level.status",
    "outcomes.status": "request.ending",
    "request_timeline.status": "request.status",
    "request_timeline.number": "request.number",
    "request_summary.Status": "request.ending",
    "request_throughput.Status": "request.ending",
    "server_split.e2e_s": "from sending to the last text by this client's clock, mean",
    "idle_power.name": "power_source.name",
    "idle_power.device": "power_source.device",
    "energy_by_source.source": "power_source.name",
    "energy_by_source.device": "power_source.device",
    "energy_by_source.gpu_energy_j": "energy of the GPU during the level, a part of energy_j",
    "idle_power.watcher": "power_source.watcher",
    "energy_by_source.machine_id": "number of the machine that the watts are of",
    "energy_by_machine.source": "what the watts were read from: every source with its device",
    "energy_by_machine.gpu_energy_j": "energy of the machine's GPUs during the level",
    "energy_by_machine.output_tokens": "output tokens of the servers that run there",
    "energy_by_machine.joules_per_output_token": (
        "energy of the machine for each output token of the servers that run there"
    ),
    "energy_by_machine.gpu_sources": "GPUs of the machine whose energy was read in the run",
    "energy_by_machine.watcher": (
        "the worker of a fleet that watches the machine; '': bench.py; NULL: nobody"
    ),
    "energy_by_machine.hosts": "the servers that run on the machine, by their addresses",
    "energy_by_machine.coverage_ratio": (
        "part of the level that power samples cover, 0 to 1; 0: nothing was read"
    ),
    "energy_by_source.watcher": "the worker of a fleet that read it; '': bench.py",
    "server_machine.watcher": (
        "the worker of a fleet that watches the machine; '': bench.py; NULL: nobody"
    ),
    "server_machine.hosts": "the servers that run on the machine, by their addresses",
    "server_machine.told_id": (
        "target.machine_id of these servers; NULL where nobody knew where they run"
    ),
    "server_machine.machine_id": (
        "number of the machine; NULL: it is not known where this server runs"
    ),
    "energy_summary.source": (
        "what the watts were read from: every source with its device, and the worker of a fleet "
        "that read it"
    ),
    "power_over_time.source": "what the watts were read from: the source with its device",
    "gpu_metrics.source": "power_source.name",
    "gpu_metrics.device": "power_source.device",
    "request_evolution.at_s": "the moment, seconds since the level began",
    "process_over_time.at_s": "the moment, seconds since the run began",
    "process_metrics.name": "process.name",
    "process_metrics.role": "process.role",
    "process_metrics.watcher": "process.watcher",
}
