/* stream_server.c - a streaming server of known timing that knows what it really served.

   cc -O2 -o stream_server stream_server.c && ./stream_server PORT LOG TTFT_MS SPREAD_MS GAP_MS TOKENS

   One thread, epoll and a timer: the first token of a reply comes TTFT_MS after its request was read
   (plus up to SPREAD_MS, different for each), then one each GAP_MS, TOKENS in all, or what the request
   asks for (num_predict, max_tokens). It speaks Ollama's /api/generate and OpenAI's
   /v1/chat/completions, on 127.0.0.1 alone. For each reply that has ended, LOG gets a line

       PREFIX READ_NS FIRST_NS LAST_NS TOKENS

   PREFIX is what stands in brackets at the beginning of the prompt ("-": nothing), the instants are of
   CLOCK_MONOTONIC: the request was read, the first and the last token were written. SIGTERM ends it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MODEL "deepseek-r1:7b"
#define MOST_STREAMS 8192
#define REQUEST_BYTES 16384

typedef struct Stream {
  int fd, is_busy, is_openai, tokens, written, place; /* place in the heap, -1: none */
  char request[REQUEST_BYTES], prefix[24];
  size_t filled;
  int64_t read_ns, first_ns, last_ns, next_ns;
} Stream;

static int epoll_fd, timer_fd, waiting, served, default_tokens;
static int64_t ttft_ns, spread_ns, gap_ns;
static Stream *heap[MOST_STREAMS]; /* by next_ns */
static FILE *log_file;
static volatile sig_atomic_t is_over;

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void put(int place, Stream *stream) { heap[place] = stream; stream->place = place; }

static void settle(Stream *stream) { /* after its next_ns has changed */
  int place = stream->place;
  while (place > 0 && heap[(place - 1) / 2]->next_ns > stream->next_ns) {
    put(place, heap[(place - 1) / 2]);
    place = (place - 1) / 2;
  }
  for (;;) {
    int child = 2 * place + 1;
    if (child >= waiting) break;
    if (child + 1 < waiting && heap[child + 1]->next_ns < heap[child]->next_ns) child++;
    if (heap[child]->next_ns >= stream->next_ns) break;
    put(place, heap[child]);
    place = child;
  }
  put(place, stream);
}

static void leave_heap(Stream *stream) {
  if (stream->place < 0) return;
  Stream *last = heap[--waiting];
  int place = stream->place;
  stream->place = -1;
  if (last != stream) { put(place, last); settle(last); }
}

static void set_timer(void) {
  struct itimerspec at = {{0, 0}, {0, 0}};
  if (waiting) { at.it_value.tv_sec = heap[0]->next_ns / 1000000000LL; at.it_value.tv_nsec = heap[0]->next_ns % 1000000000LL; }
  timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void hang_up(Stream *stream) {
  leave_heap(stream);
  close(stream->fd);
  free(stream);
}

static int say(Stream *stream, const char *bytes, size_t length) { /* a client that does not read is hung up on */
  return send(stream->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)length;
}

static int chunk(char *out, const char *text, int length) { return sprintf(out, "%x\r\n%.*s\r\n", length, length, text); }

static int write_token(Stream *stream) { /* the head and the first token leave together, and so do the last and the end */
  char text[512], out[2048];
  int used = 0, length;
  if (stream->written == 0)
    used = sprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n",
                   stream->is_openai ? "text/event-stream" : "application/x-ndjson");
  if (stream->is_openai)
    length = sprintf(text, "data: {\"id\":\"chatcmpl-%d\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"" MODEL "\",\"choices\":"
                     "[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n", served);
  else
    length = sprintf(text, "{\"model\":\"" MODEL "\",\"created_at\":\"2026-01-01T00:00:00.123456789Z\",\"response\":\" word\",\"done\":false}\n");
  used += chunk(out + used, text, length);
  stream->last_ns = now_ns();
  if (stream->written++ == 0) stream->first_ns = stream->last_ns;
  if (stream->written == stream->tokens) {
    if (stream->is_openai)
      length = sprintf(text, "data: {\"id\":\"chatcmpl-%d\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"" MODEL "\",\"choices\":[{\"index\":0,"
                       "\"delta\":{},\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\ndata: [DONE]\n\n",
                       served, stream->tokens, stream->tokens + 9);
    else
      length = sprintf(text, "{\"model\":\"" MODEL "\",\"created_at\":\"2026-01-01T00:00:00.123456789Z\",\"response\":\"\",\"done\":true,\"done_reason\":"
                       "\"length\",\"total_duration\":%lld,\"prompt_eval_count\":9,\"eval_count\":%d}\n", (long long)(stream->last_ns - stream->read_ns), stream->tokens);
    used += chunk(out + used, text, length);
    used += sprintf(out + used, "0\r\n\r\n");
  }
  return say(stream, out, used);
}

static void answer(Stream *stream, const char *body) {
  char out[2048];
  say(stream, out, sprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body));
}

static void begin_stream(Stream *stream, const char *body, int64_t read_ns) {
  const char *asked = strstr(body, "\"num_predict\":"), *bracket = strstr(body, "\"[");
  if (!asked) asked = strstr(body, "\"max_tokens\":");
  if (!asked) asked = strstr(body, "\"max_completion_tokens\":");
  stream->tokens = asked ? atoi(strchr(asked + 2, ':') + 1) : default_tokens;
  strcpy(stream->prefix, "-");
  if (bracket) sscanf(bracket + 2, "%20[^] ]", stream->prefix);
  stream->is_busy = 1;
  stream->written = 0;
  stream->read_ns = read_ns;
  stream->next_ns = read_ns + ttft_ns + (int64_t)(spread_ns * ((served++ * 2654435761u) % 1000 / 1000.0));
  stream->place = waiting++;
  settle(stream);
}

static void handle(Stream *stream, int64_t read_ns) { /* one request at a time; a client that sends two at once is not served */
  stream->request[stream->filled] = 0;
  char *head_end = strstr(stream->request, "\r\n\r\n");
  if (!head_end) return;
  char *length = strcasestr(stream->request, "\r\ncontent-length:");
  size_t body = length && length < head_end ? strtoul(length + 17, NULL, 10) : 0;
  if (stream->filled < (size_t)(head_end + 4 - stream->request) + body) return;
  const char *path = strchr(stream->request, ' ') + 1;
  stream->filled = 0;
  if (!strncmp(path, "/api/generate", 13)) { stream->is_openai = 0; begin_stream(stream, head_end, read_ns); }
  else if (!strncmp(path, "/v1/chat/completions", 20)) { stream->is_openai = 1; begin_stream(stream, head_end, read_ns); }
  else if (!strncmp(path, "/api/version", 12)) answer(stream, "{\"version\":\"0.32.0\"}");
  else if (!strncmp(path, "/api/show", 9)) answer(stream, "{\"details\":{\"family\":\"qwen2\"},\"capabilities\":[\"completion\"]}");
  else if (!strncmp(path, "/v1/models", 10)) answer(stream, "{\"object\":\"list\",\"data\":[{\"id\":\"" MODEL "\",\"object\":\"model\",\"owned_by\":\"library\"}]}");
  else answer(stream, "{\"models\":[{\"name\":\"" MODEL "\",\"model\":\"" MODEL "\"}]}");
}

static void receive(Stream *stream) {
  ssize_t got = recv(stream->fd, stream->request + stream->filled, REQUEST_BYTES - 1 - stream->filled, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0 || stream->is_busy) { hang_up(stream); return; }
  stream->filled += got;
  handle(stream, now_ns());
}

static void write_due(void) {
  int64_t now = now_ns();
  for (int round = 0; waiting && heap[0]->next_ns <= now && round < 256; round++) { /* then look at what was asked */
    Stream *stream = heap[0];
    if (!write_token(stream)) { hang_up(stream); continue; }
    if (stream->written < stream->tokens) { stream->next_ns += gap_ns; settle(stream); continue; }
    leave_heap(stream);
    stream->is_busy = 0;
    fprintf(log_file, "%s %lld %lld %lld %d\n", stream->prefix, (long long)stream->read_ns, (long long)stream->first_ns, (long long)stream->last_ns, stream->tokens);
  }
}

static void accept_all(int listener) {
  int fd, yes = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    Stream *stream = calloc(1, sizeof *stream);
    stream->fd = fd;
    stream->place = -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
  }
}

static void end(int signal) { (void)signal; is_over = 1; }

int main(int count, char **words) {
  if (count != 7) { fprintf(stderr, "usage: stream_server PORT LOG TTFT_MS SPREAD_MS GAP_MS TOKENS\n"); return 2; }
  ttft_ns = atof(words[3]) * 1e6, spread_ns = atof(words[4]) * 1e6, gap_ns = atof(words[5]) * 1e6, default_tokens = atoi(words[6]);
  log_file = fopen(words[2], "w");
  if (!log_file) { perror(words[2]); return 1; }
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  struct sigaction action = {.sa_handler = end};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) { perror("listen"); return 1; }
  socklen_t size = sizeof address;
  getsockname(listener, (struct sockaddr *)&address, &size);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener}, events[512];
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
  event.data.ptr = &timer_fd;
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event);
  printf("listening on http://127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);
  while (!is_over) {
    set_timer();
    int found = epoll_wait(epoll_fd, events, 512, -1);
    for (int i = 0; i < found; i++) {
      uint64_t times;
      if (events[i].data.ptr == &listener) accept_all(listener);
      else if (events[i].data.ptr == &timer_fd) { if (read(timer_fd, &times, sizeof times) < 0) continue; }
      else receive(events[i].data.ptr);
    }
    write_due();
  }
  fclose(log_file);
  return 0;
}
