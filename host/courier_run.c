/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho run as the courier: what it is to hold goes over the socket that the keeper has to it.
 * The keeper detaches the courier before it closes that.
 */
#include <stddef.h>

#include "courier.h"
#include "life.h"
#include "message.h"

static int send_tokens(unsigned int type, const __u64 *tokens, const int *fds, unsigned int nr)
{
	struct kho_abi_msg_fds head = {nr, 0};
	struct kho_msg_out out = {.type = type,
				  .head = &head,
				  .head_len = sizeof(head),
				  .text = tokens,
				  .text_len = nr * sizeof(*tokens),
				  .fds = fds,
				  .nr_fds = fds ? nr : 0};

	return kho_msg_send_(kho_life_.server, &out, 0);
}

static int hold(const __u64 *tokens, const int *fds, unsigned int nr)
{
	return send_tokens(KHO_MSG_HOLD, tokens, fds, nr);
}

static int drop(const __u64 *tokens, unsigned int nr)
{
	return send_tokens(KHO_MSG_DROP, tokens, NULL, nr);
}

static int sync_all(bool end)
{
	struct kho_abi_msg_sync body = {.end = end};
	struct kho_msg_out out = {
		.type = KHO_MSG_HOLD_SYNC, .head = &body, .head_len = sizeof(body)};

	return kho_msg_send_(kho_life_.server, &out, 0);
}

const struct kho_courier kho_courier_run_ = {
	.name = "kho run", .hold = hold, .drop = drop, .sync = sync_all};
