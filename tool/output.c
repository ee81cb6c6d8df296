/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Messages for people and JSON for programs.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tool.h"

bool patient = true;

/* Of a pipe or a terminal, POLLOUT means room for a line; a socket says itself whether there is. */
static void put_line(const char *line, size_t len)
{
	struct pollfd p = {STDERR_FILENO, POLLOUT, 0};

	if (send(STDERR_FILENO, line, len, MSG_NOSIGNAL | (patient ? 0 : MSG_DONTWAIT)) >= 0 ||
	    errno != ENOTSOCK)
		return;
	if (!patient && (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)))
		return;
	if (write(STDERR_FILENO, line, len) < 0)
		return; /* there is nobody to tell */
}

char *printable(char *text)
{
	for (unsigned char *s = (unsigned char *)text; *s;) {
		int len = *s < 0x20 || *s == 0x7f ? 0 : utf8_len(s);

		if (!len)
			*s = '?';
		s += len ? len : 1;
	}
	return text;
}

void complain(const char *format, ...)
{
	char line[2048] = "kho: ";
	size_t len = strlen(line);
	va_list args;

	va_start(args, format);
	vsnprintf(line + len, sizeof(line) - len - 1, format, args);
	va_end(args);
	len = strlen(printable(line));
	line[len++] = '\n';
	put_line(line, len);
}

int output_done(int status, int lost)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	complain("the output could not be written");
	return lost;
}

int utf8_len(const unsigned char *s)
{
	int len = s[0] < 0x80			? 1
		  : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		  : (s[0] & 0xf0) == 0xe0	? 3
		  : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
						: 0;

	for (int i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if (len == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0)))
		return 0;
	if (len == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90)))
		return 0;
	return len;
}

/* Names and paths are bytes, JSON is UTF-8: what is neither becomes U+FFFD. */
void json_string(FILE *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	fputc('"', out);
	while (*s) {
		int len = utf8_len(s);

		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(out, "\\u%04x", *s);
		else if (!len)
			fputs("\\ufffd", out);
		else
			fwrite(s, 1, len, out);
		s += len ? len : 1;
	}
	fputc('"', out);
}
