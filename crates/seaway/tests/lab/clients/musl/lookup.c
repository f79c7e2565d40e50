/* Looks every name of its command line up as musl does and prints its addresses, a name a line. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++) {
		struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found, *next;
		int error = getaddrinfo(argv[i], NULL, &hints, &found);

		if (error) {
			printf("%s: %s\n", argv[i], gai_strerror(error));
			failed = 1;
			continue;
		}
		printf("%s:", argv[i]);
		for (next = found; next; next = next->ai_next) {
			char text[INET6_ADDRSTRLEN];

			getnameinfo(next->ai_addr, next->ai_addrlen, text, sizeof(text),
				    NULL, 0, NI_NUMERICHOST);
			printf(" %s", text);
		}
		printf("\n");
		freeaddrinfo(found);
	}
	return failed;
}
