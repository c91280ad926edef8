/* A compiled load generator for a WebSocket: messages leave on a schedule, each is answered, in order.

   stream_load HOST PORT FILE PER_S: FILE holds records, four bytes of length (big-endian) and the bytes. The first is the
   request that asks for the WebSocket, each other one a whole frame, masked, as it goes onto the wire: whoever wrote the
   file knows the protocol. A late answer counts from when its message was due. It prints one line of JSON. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWERS_BYTES (1 << 20)
#define PATIENCE_MS 20000.0

static void fail(const char *what) {
  fprintf(stderr, "%s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
  exit(1);
}

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e3 * (double)now.tv_sec + (double)now.tv_nsec / 1e6;
}

struct record {
  const unsigned char *bytes;
  size_t size;
};

static struct record *load(const char *path, size_t *count) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) fail(path);
  long size = ftell(file);
  rewind(file);
  unsigned char *content = malloc((size_t)size + 1);
  struct record *records = malloc(((size_t)size / 4 + 1) * sizeof *records);
  if (!content || !records || fread(content, 1, (size_t)size, file) != (size_t)size) fail(path);
  fclose(file);
  *count = 0;
  for (long at = 0; at + 4 <= size;) {
    uint32_t length;
    memcpy(&length, content + at, 4);
    length = ntohl(length);
    at += 4;
    if ((long)length > size - at) fail("the file is cut off");
    records[(*count)++] = (struct record){content + at, length};
    at += (long)length;
  }
  return records;
}

static int opened(const char *host, const char *port, struct record request) {
  struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  int one = 1, line = socket(AF_INET, SOCK_STREAM, 0);
  if (line < 0 || inet_pton(AF_INET, host, &where.sin_addr) != 1) fail(host);
  if (connect(line, (struct sockaddr *)&where, sizeof where)) fail("connect");
  setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (write(line, request.bytes, request.size) != (ssize_t)request.size) fail("handshake");
  char head[4096];
  size_t have = 0;
  while (!memmem(head, have, "\r\n\r\n", 4)) {
    ssize_t more = read(line, head + have, 1); /* what follows the head is the first frame's */
    if (more <= 0 || have + 1 == sizeof head) fail("the WebSocket was not opened");
    have += (size_t)more;
  }
  if (have < 12 || memcmp(head + 9, "101", 3)) fail("the WebSocket was refused");
  fcntl(line, F_SETFL, O_NONBLOCK);
  return line;
}

/* The size of the frame that begins here, 0 if not all of it is here; its payload and opcode. */
static size_t frame(const unsigned char *at, size_t have, struct record *payload, int *opcode) {
  if (have < 2) return 0;
  size_t head = 2, size = at[1] & 127;
  if (size >= 126) {
    size_t width = size == 126 ? 2 : 8;
    head += width;
    if (have < head) return 0;
    size = 0;
    for (size_t i = 2; i < head; i++) size = size << 8 | at[i];
  }
  if (size > ANSWERS_BYTES - 16) fail("an answer is too long");
  if (have < head + size) return 0;
  *payload = (struct record){at + head, size};
  *opcode = at[0] & 15;
  return head + size;
}

static int ascending(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

int main(int argc, char **argv) {
  if (argc != 5) fail("usage: stream_load HOST PORT FILE PER_S");
  size_t records, count;
  struct record *record = load(argv[3], &records);
  if (records < 2) fail("nothing to send");
  count = records - 1;
  double pause_ms = 1e3 / atof(argv[4]);
  double *late_ms = malloc(count * sizeof *late_ms);
  unsigned char *answers = malloc(ANSWERS_BYTES);
  if (!late_ms || !answers) fail("memory");
  int line = opened(argv[1], argv[2], record[0]);
  size_t sent = 0, offset = 0, answered = 0, have = 0;
  double began_ms = now_ms(), last_ms = began_ms;
  while (answered < count) {
    double at_ms = now_ms();
    if (at_ms - last_ms > PATIENCE_MS) fail("no answer came for 20 s");
    double due_ms = began_ms + (double)sent * pause_ms;
    int is_due = sent < count && (offset > 0 || at_ms >= due_ms);
    if (is_due) {
      struct record *next = &record[sent + 1];
      ssize_t done = write(line, next->bytes + offset, next->size - offset);
      if (done < 0 && errno != EAGAIN) fail("write");
      if (done > 0 && (offset += (size_t)done) == next->size) {
        sent++;
        offset = 0;
      }
    }
    ssize_t more = read(line, answers + have, ANSWERS_BYTES - have);
    if (more == 0) fail("the node closed the WebSocket");
    if (more < 0 && errno != EAGAIN) fail("read");
    if (more > 0) {
      have += (size_t)more;
      size_t at = 0, size;
      struct record payload;
      int opcode;
      at_ms = now_ms();
      while ((size = frame(answers + at, have - at, &payload, &opcode))) {
        at += size;
        if (opcode == 8) fail("the node closed the WebSocket");
        if (opcode != 1) continue;
        if (!memmem(payload.bytes, payload.size, "\"refused\":[]", 12)) {
          fprintf(stderr, "not taken whole: %.*s\n", (int)(payload.size < 300 ? payload.size : 300), payload.bytes);
          return 1;
        }
        if (answered == sent) fail("an answer to nothing");
        late_ms[answered] = at_ms - (began_ms + (double)answered * pause_ms);
        answered++;
        last_ms = at_ms;
      }
      memmove(answers, answers + at, have -= at);
      continue;
    }
    double wait_ms = sent == count ? 1000 : began_ms + (double)sent * pause_ms - now_ms();
    struct timespec wait = {0, 0};
    if (offset == 0 && wait_ms > 0) {
      wait.tv_sec = (time_t)(wait_ms / 1e3);
      wait.tv_nsec = (long)((wait_ms - 1e3 * (double)wait.tv_sec) * 1e6);
    }
    if (offset > 0) wait.tv_sec = 1;
    struct pollfd ready = {line, (short)(POLLIN | (offset > 0 ? POLLOUT : 0)), 0};
    errno = 0;
    if (offset > 0 || wait_ms > 0) ppoll(&ready, 1, &wait, NULL);
  }
  qsort(late_ms, count, sizeof *late_ms, ascending);
  printf("{\"requests\": %zu, \"duration_ms\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", count, last_ms - began_ms,
         late_ms[(count - 1) / 2], late_ms[(count * 99 + 99) / 100 - 1]);
  return 0;
}
