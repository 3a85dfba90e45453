/* A web server that tells the time, and nothing else. Small enough to be alone in an image. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The first process of a container gets no default actions: without this SIGTERM does nothing. */
static void leave(int number)
{
	(void)number;
	_exit(0);
}

static struct sockaddr_in address(const char *port, in_addr_t host)
{
	struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	made.sin_addr.s_addr = htonl(host);
	return made;
}

static void answer(int client)
{
	char request[4096], body[256], now[64];
	time_t seconds = time(NULL);
	if (read(client, request, sizeof request) <= 0)
		return;
	strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime(&seconds));
	int size = snprintf(body, sizeof body, "clock %s, user %d, process %d: %s\n", VERSION,
			    (int)getuid(), (int)getpid(), now);
	dprintf(client, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
			"Connection: close\r\n\r\n%s", size, body);
}

static int serve(const char *port)
{
	struct sockaddr_in here = address(port, INADDR_ANY);
	int yes = 1, listening = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(listening, (struct sockaddr *)&here, sizeof here) || listen(listening, 16)) {
		perror("clock");
		return 1;
	}
	printf("serving on port %s\n", port);
	fflush(stdout);
	for (;;) {
		int client = accept(listening, NULL, NULL);
		if (client < 0)
			continue;
		answer(client);
		close(client);
	}
}

static int check(const char *port)
{
	struct sockaddr_in there = address(port, INADDR_LOOPBACK);
	char text[16] = "";
	int server = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(server, (struct sockaddr *)&there, sizeof there))
		return 1;
	dprintf(server, "GET / HTTP/1.0\r\n\r\n");
	return read(server, text, sizeof text - 1) < 12 || strncmp(text + 9, "200", 3) != 0;
}

int main(int count, char **words)
{
	signal(SIGTERM, leave);
	signal(SIGINT, leave);
	if (count == 3 && !strcmp(words[1], "serve"))
		return serve(words[2]);
	if (count == 3 && !strcmp(words[1], "check"))
		return check(words[2]);
	if (count == 2 && !strcmp(words[1], "version"))
		return puts(VERSION) < 0;
	fprintf(stderr, "usage: clock serve PORT | check PORT | version\n");
	return 2;
}
