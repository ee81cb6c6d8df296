/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Pages for nodes of the preserved-memory tree: the node region and nothing else. */
#ifndef KHO_HOST_NODE_H
#define KHO_HOST_NODE_H

#include <kho/kho.h>

/* alloc_node and free_node of struct khoc_mem_ops. */
kho_pa_t kho_node_alloc_(void *ctx);
void kho_node_free_(void *ctx, kho_pa_t pa);

/* Forget which pages are in use; found out again from the tree when one is wanted. */
void kho_nodes_forget_(void);

#endif
