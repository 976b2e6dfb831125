/* The machine's limit: a relay in C that does as little as a relay can.
 *
 * Pairs people in the order in which they ask, and passes on what one of two sends, numbered anew. It looks at no token, writes
 * nothing anywhere, checks nothing and parses no more of a message than where its type and its data are. So it is no peer to
 * choose, but the part of everybody's cost that is the kernel's, and what the compiled rest cannot go below.
 * Linux. Takes the handshake of the load generator only, which always sends the key of RFC 6455, section 1.3.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ = 256 * 1024, MOST = 64 * 1024, EVENTS = 512, TEXT = 1, CLOSE = 8 };

static const char KEY[] = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
static const char SWITCH[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                             "Sec-WebSocket-Protocol: minuet.v1.json\r\n\r\n";

struct bytes {
    char *at;
    size_t size;
};

struct peer {
    int fd;
    bool open, queued;
    uint64_t seq;
    struct peer *partner, *next;
    struct bytes rest;   /* of a frame that has not come whole */
    struct bytes unsent; /* what the socket did not take */
};

static int loop;
static char inbox[MOST + READ], outbox[2 * (MOST + READ)];
static size_t out_size;
static struct peer *waiting[2];
static unsigned long calls;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void keep(struct bytes *kept, const char *from, size_t size) {
    char *at = realloc(kept->at, kept->size + size);
    if (!at) die("realloc");
    memcpy(at + kept->size, from, size);
    *kept = (struct bytes){at, kept->size + size};
}

static void drop(struct bytes *kept) {
    free(kept->at);
    *kept = (struct bytes){0};
}

static void leave(struct peer *me) {
    for (int side = 0; side < 2; side++)
        for (struct peer **at = &waiting[side]; *at; at = &(*at)->next)
            if (*at == me) {
                *at = me->next;
                break;
            }
    if (me->partner) me->partner->partner = NULL;
    close(me->fd);
    drop(&me->rest);
    drop(&me->unsent);
    free(me);
}

static void write_out(struct peer *to, const char *from, size_t size) {
    if (!to->unsent.size) {
        ssize_t sent = send(to->fd, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) return; /* its own event says that it has gone */
        if (sent > 0) from += sent, size -= sent;
    }
    if (!size) return;
    keep(&to->unsent, from, size);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = to};
    epoll_ctl(loop, EPOLL_CTL_MOD, to->fd, &event);
}

static void go_on_writing(struct peer *to) {
    struct bytes held = to->unsent;
    to->unsent = (struct bytes){0};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = to};
    epoll_ctl(loop, EPOLL_CTL_MOD, to->fd, &event);
    write_out(to, held.at, held.size);
    free(held.at);
}

/* Adds a text frame with an envelope to what goes out. */
static void say(struct peer *to, struct bytes type, struct bytes data) {
    char number[24];
    int digits = snprintf(number, sizeof number, "%llu", (unsigned long long)++to->seq);
    size_t size = 8 + type.size + 7 + digits + 8 + data.size + 1;
    char *at = outbox + out_size;
    *at++ = (char)(0x80 | TEXT);
    if (size < 126) {
        *at++ = (char)size;
    } else if (size <= UINT16_MAX) {
        *at++ = 126;
        *at++ = (char)(size >> 8), *at++ = (char)size;
    } else {
        *at++ = 127;
        for (int shift = 56; shift >= 0; shift -= 8) *at++ = (char)((uint64_t)size >> shift);
    }
    at = mempcpy(at, "{\"type\":", 8);
    at = mempcpy(at, type.at, type.size);
    at = mempcpy(at, ",\"seq\":", 7);
    at = mempcpy(at, number, digits);
    at = mempcpy(at, ",\"data\":", 8);
    at = mempcpy(at, data.at, data.size);
    *at++ = '}';
    out_size = at - outbox;
}

static void flush(struct peer *to) {
    if (out_size) write_out(to, outbox, out_size);
    out_size = 0;
}

/* Behind the value that begins here; NULL where it does not end. */
static char *skip(char *at, char *end) {
    int depth = 0;
    while (at < end) {
        char c = *at++;
        if (c == '"') {
            for (;;) {
                char *quote = memchr(at, '"', end - at);
                if (!quote) return NULL;
                char *slash = quote;
                while (slash > at && slash[-1] == '\\') slash--;
                at = quote + 1;
                if ((quote - slash) % 2 == 0) break;
            }
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (--depth < 0) return at - 1;
        } else if (c == ',' && !depth) {
            return at - 1;
        } else {
            continue;
        }
        if (!depth) return at;
    }
    return NULL;
}

/* The values of `type` and `data` of one message; false where it has not both. */
static bool envelope(char *at, char *end, struct bytes *type, struct bytes *data) {
    *type = *data = (struct bytes){0};
    for (at++; at < end && *at == '"';) {
        char *key = at + 1, *colon = skip(at, end);
        if (!colon || colon >= end) return false;
        char *value = colon + 1, *behind = skip(value, end);
        if (!behind) return false;
        if (!strncmp(key, "type\"", 5)) *type = (struct bytes){value, behind - value};
        if (!strncmp(key, "data\"", 5)) *data = (struct bytes){value, behind - value};
        at = behind + 1;
    }
    return type->at && data->at;
}

static struct bytes text(char *of) { return (struct bytes){of, strlen(of)}; }

static void tell_match(struct peer *to, bool offers) {
    char data[96];
    snprintf(data, sizeof data, "{\"call_id\":\"call-%lu\",\"offerer\":%s}", calls, offers ? "true" : "false");
    say(to, text("\"match.found\""), text(data));
    flush(to);
}

static void meet(struct peer *me, int side) {
    struct peer *other = waiting[!side];
    if (!other) {
        struct peer **last = &waiting[side];
        while (*last) last = &(*last)->next;
        me->next = NULL;
        *last = me;
        return;
    }
    waiting[!side] = other->next;
    me->partner = other, other->partner = me;
    calls++;
    tell_match(other, true);
    tell_match(me, false);
}

static bool heard(struct peer *me, char *message, size_t size) {
    struct bytes type, data;
    if (!envelope(message, message + size, &type, &data)) return false;
    if (me->partner) {
        say(me->partner, type, data);
    } else if (!strncmp(type.at, "\"session.start\"", type.size)) {
        say(me, text("\"session.ready\""), text("{}"));
        flush(me);
    } else {
        meet(me, data.at[data.size - 2] == '1'); /* {"side":1} */
    }
    return true;
}

/* Takes one frame; its size, 0 where it has not come whole, -1 where the connection is over. */
static long frame(struct peer *me, unsigned char *at, size_t have) {
    if (have < 6) return 0;
    size_t size = at[1] & 0x7f, head = 2;
    if (size == 126) size = at[2] << 8 | at[3], head = 4;
    if (size == 127 || size > MOST || !(at[1] & 0x80) || (at[0] & 0x0f) == CLOSE) return -1;
    if (have < head + 4 + size) return 0;
    unsigned char *mask = at + head;
    char *payload = (char *)mask + 4;
    uint32_t four;
    uint64_t eight;
    memcpy(&four, mask, 4);
    eight = (uint64_t)four << 32 | four;
    size_t done = 0;
    for (; done + 8 <= size; done += 8) {
        uint64_t word;
        memcpy(&word, payload + done, 8);
        word ^= eight;
        memcpy(payload + done, &word, 8);
    }
    for (; done < size; done++) payload[done] ^= mask[done % 4];
    if ((at[0] & 0x0f) == TEXT && !heard(me, payload, size)) return -1;
    return head + 4 + size;
}

static long handshake(struct peer *me, char *at, size_t have) {
    char *end = memmem(at, have, "\r\n\r\n", 4);
    if (!end) return 0;
    if (!memmem(at, end - at, KEY, strlen(KEY))) return -1;
    me->open = true;
    write_out(me, SWITCH, strlen(SWITCH));
    return end + 4 - at;
}

static bool take(struct peer *me) {
    size_t have = me->rest.size;
    if (have) memcpy(inbox, me->rest.at, have);
    drop(&me->rest);
    ssize_t came = recv(me->fd, inbox + have, READ, MSG_DONTWAIT);
    if (came <= 0) return came < 0 && errno == EAGAIN;
    have += came;
    char *at = inbox;
    long used = 1;
    while (have && used) {
        used = me->open ? frame(me, (unsigned char *)at, have) : handshake(me, at, have);
        if (used < 0) return false;
        at += used, have -= used;
    }
    if (me->partner) flush(me->partner);
    if (have) keep(&me->rest, at, have);
    return have <= MOST;
}

static void let_in(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct peer *me = calloc(1, sizeof *me);
        if (!me) die("calloc");
        me->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = me};
        if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
    }
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    loop = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    printf("ready %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(loop, events, EVENTS, -1);
        for (int each = 0; each < count; each++) {
            struct peer *me = events[each].data.ptr;
            if (!me) {
                let_in(listener);
                continue;
            }
            if (events[each].events & EPOLLOUT) go_on_writing(me);
            if (events[each].events & ~(uint32_t)EPOLLOUT && !take(me)) leave(me);
        }
    }
}
