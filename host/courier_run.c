/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho run as the courier: what it is to hold goes over the socket that the keeper has to it.
 * The keeper detaches the courier before it closes that.
 */
#include <stddef.h>

#include "courier.h"
#include "life.h"
#include "message.h"

static int hold(const __u64 *tokens, const int *fds, unsigned int nr)
{
	return kho_msg_send_tokens_(kho_life_.server, KHO_MSG_HOLD, tokens, fds, nr, 0);
}

static int drop(const __u64 *tokens, unsigned int nr)
{
	return kho_msg_send_tokens_(kho_life_.server, KHO_MSG_DROP, tokens, NULL, nr, 0);
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
