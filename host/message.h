/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Private to the hand-over and kho(1): messages of "handover-v1" on a SOCK_SEQPACKET socket.
 * What comes in is hostile: nothing of it is used before it is checked here.
 */
#ifndef KHO_HOST_MESSAGE_H
#define KHO_HOST_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <kho/abi/handover.h>

#define KHO_MSG_BODY_MAX (KHO_ABI_MSG_MAX - sizeof(struct kho_abi_msg))

/**
 * struct kho_msg - a message that came in, checked
 * @type: enum kho_abi_msg_type
 * @len: bytes of @body; at least what its type's struct needs
 * @nr_fds: of @fds, which are close-on-exec; those that the receiver does not take over
 *	(sets to -1) are closed by kho_msg_drop_()
 * @pid: the sender's, 0 where the socket does not say (no SO_PASSCRED)
 * @body: what came, with a NUL behind it
 */
struct kho_msg {
	unsigned int type;
	size_t len;
	unsigned int nr_fds;
	pid_t pid;
	int fds[KHO_ABI_MSG_FDS_MAX];
	unsigned char body[KHO_ABI_MSG_MAX] __attribute__((aligned(8)));
};

/**
 * struct kho_msg_out - a message that goes out
 * @head, @text: the two parts of its body; either may be empty
 */
struct kho_msg_out {
	unsigned int type;
	const void *head;
	size_t head_len;
	const void *text;
	size_t text_len;
	const int *fds;
	unsigned int nr_fds;
};

/**
 * kho_msg_recv_() - receive one message
 * @timeout_ms: 0: only if it is there
 *
 * Return: 0; -ETIMEDOUT; -EPIPE: end of file; -EMFILE: fds of it did not fit below
 * RLIMIT_NOFILE; -KHO_E_TRUNCATED, -KHO_E_MAGIC, -KHO_E_VERSION (unknown type),
 * -KHO_E_FORMAT, -KHO_E_RANGE: refused, its fds are closed; another errno.
 */
int kho_msg_recv_(int sock, struct kho_msg *msg, unsigned int timeout_ms);
/* Close what the receiver did not take. */
void kho_msg_drop_(struct kho_msg *msg);

/* Return: 0; -ETIMEDOUT (@timeout_ms 0: -EAGAIN); -EPIPE; another errno. */
int kho_msg_send_(int sock, const struct kho_msg_out *out, unsigned int timeout_ms);
/* Tokens; their fds too, unless @fds is NULL. At most KHO_ABI_MSG_FDS_MAX. Return: as above. */
int kho_msg_send_tokens_(int sock, unsigned int type, const __u64 *tokens, const int *fds,
			 unsigned int nr, unsigned int timeout_ms);
/* Type and text; an error is nobody's business: the peer may be gone. */
void kho_msg_say_(int sock, unsigned int type, const char *text);
/* PROGRESS, UPGRADED or CTL_REPLY. */
int kho_msg_result_(int sock, unsigned int type, int error, unsigned int step, const char *text);

/* The text that follows the first @skip bytes; always NUL-terminated. */
const char *kho_msg_text_(const struct kho_msg *msg, size_t skip);

#endif
