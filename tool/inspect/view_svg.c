/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * kho map --svg: the memory as a picture that stands alone. What the pointer rests on says what it is.
 */
#include <stdlib.h>

#include "views.h"

typedef unsigned long long ull;

#define PER_ROW 128U
#define ROWS 48 /* about */
#define ROWS_MAX 512 /* memory with many gaps */
#define SIDE 8 /* width of a cell */
#define HIGH 11 /* its height: that of a line of text */
#define GAP 6 /* where memory has one */
#define LEFT 120 /* of the addresses */
#define TOP 64

static const char *const colours[NR_CLASSES] = {"#4e9fc9", "#58a55c", "#e3b341", "#b066c9",
						"#d9534f"};

static void put_xml(FILE *out, const char *text)
{
	char safe[512];

	clean(safe, sizeof(safe), text);
	for (const char *c = safe; *c; c++) {
		if (*c == '<')
			fputs("&lt;", out);
		else if (*c == '&')
			fputs("&amp;", out);
		else if (*c == '"')
			fputs("&quot;", out);
		else
			fputc(*c, out);
	}
}

static bool same(const struct model *m, const struct cell *a, const struct cell *b)
{
	bool a_ram = source_is_ram(m->source, a->pa, 1), b_ram = source_is_ram(m->source, b->pa, 1);

	return a->preserved * 8 / a->len == b->preserved * 8 / b->len && a->order == b->order &&
	       a->owner == b->owner && a_ram == b_ram && !a->preserved == !b->preserved;
}

/* Cells that are alike, as one. */
static void put_cells(FILE *out, const struct model *m, const struct cell *c, unsigned int x,
		      unsigned int y, unsigned int nr)
{
	char bytes[32], order[32];
	__u64 preserved = 0;

	for (unsigned int i = 0; i < nr; i++)
		preserved += c[i].preserved;
	if (!preserved && !source_is_ram(m->source, c->pa, 1))
		return;
	fprintf(out, "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%d\" ", LEFT + x * SIDE, y,
		nr * SIDE, HIGH);
	if (preserved)
		fprintf(out, "fill=\"%s\" fill-opacity=\"%.2f\">", colours[class_of(m, c->order)],
			0.25 + 0.75 * (double)c->preserved / (double)c->len);
	else
		fputs("class=\"f\">", out);
	fprintf(out, "<title>%#llx to %#llx", (ull)c->pa, (ull)(c->pa + nr * c->len));
	if (preserved) {
		fprintf(out, "\n%s preserved, blocks of up to %s\n",
			human(bytes, sizeof(bytes), preserved),
			human(order, sizeof(order), page_size(m) << c->order));
		put_xml(out, owner_name(m, c->owner));
	} else {
		fputs("\nnot preserved", out);
	}
	fputs("</title></rect>\n", out);
}

static void put_row(FILE *out, const struct model *m, kho_pa_t pa, __u64 cell, unsigned int y)
{
	static struct cell cells[PER_ROW];

	fprintf(out, "<text x=\"%d\" y=\"%u\" text-anchor=\"end\">%#llx</text>\n", LEFT - 8,
		y + HIGH - 2, (ull)pa);
	cells_fill(m, pa, cell, cells, PER_ROW);
	for (unsigned int i = 0, n; i < PER_ROW; i += n) {
		for (n = 1; i + n < PER_ROW && same(m, &cells[i], &cells[i + n]);)
			n++;
		put_cells(out, m, &cells[i], i, y, n);
	}
}

static void put_legend(FILE *out, const struct model *m, __u64 cell, unsigned int y)
{
	char text[32];
	unsigned int x = LEFT;

	for (unsigned int i = 0; i < NR_CLASSES; i++, x += 150) {
		fprintf(out, "<rect x=\"%u\" y=\"%u\" width=\"%d\" height=\"%d\" fill=\"%s\"/>", x,
			y, SIDE, SIDE, colours[i]);
		fprintf(out, "<text x=\"%u\" y=\"%u\">%s</text>\n", x + SIDE + 6, y + SIDE,
			class_name(i));
	}
	fprintf(out, "<rect x=\"%d\" y=\"%u\" width=\"%d\" height=\"%d\" class=\"f\"/>", LEFT,
		y + 20, SIDE, SIDE);
	fprintf(out, "<text x=\"%d\" y=\"%u\">not preserved</text>\n", LEFT + SIDE + 6,
		y + 20 + SIDE);
	fprintf(out, "<path d=\"M%d %uv6m0 -3h%um0 -3v6\" stroke=\"#888\" fill=\"none\"/>",
		LEFT + 150, y + 21, 16 * SIDE);
	fprintf(out, "<text x=\"%d\" y=\"%u\">%s; the paler, the less of it is preserved</text>\n",
		LEFT + 158 + 16 * SIDE, y + 20 + SIDE, human(text, sizeof(text), cell * 16));
}

static void put_head(FILE *out, const struct model *m, unsigned int rows_height)
{
	unsigned int width = LEFT + PER_ROW * SIDE + 16, height = TOP + rows_height + 64;
	char text[32];

	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
		"viewBox=\"0 0 %u %u\" font-family=\"monospace\" font-size=\"10\">\n",
		width, height, width, height);
	fputs("<style>.f{fill:#e4e7ea}text{fill:#333}</style>\n"
	      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
	      out);
	fprintf(out, "<text x=\"16\" y=\"24\" font-size=\"15\">");
	put_xml(out, m->source->name);
	fprintf(out, "</text>\n<text x=\"16\" y=\"44\">%s preserved of ",
		human(text, sizeof(text), m->pages << m->source->shift));
	fprintf(out, "%s, ", human(text, sizeof(text), source_bytes(m->source)));
	fprintf(out, "pages of %s</text>\n", human(text, sizeof(text), page_size(m)));
}

void view_svg(FILE *out, const struct model *m)
{
	__u64 cell = page_size(m), bytes = source_bytes(m->source), row;
	unsigned int rows = 0, height = 0, y = TOP;
	kho_pa_t pa, next;

	while (cell * PER_ROW * ROWS < bytes)
		cell *= 2;
	row = cell * PER_ROW;
	for (pa = next_row(m, 0, row); pa != NO_ROW && rows < ROWS_MAX; pa = next, rows++) {
		next = next_row(m, pa + row, row);
		height += next == pa + row || next == NO_ROW ? HIGH : HIGH + GAP;
	}
	put_head(out, m, height);
	for (pa = next_row(m, 0, row); rows--; pa = next) {
		put_row(out, m, pa, cell, y);
		next = next_row(m, pa + row, row);
		y += next == pa + row || next == NO_ROW ? HIGH : HIGH + GAP;
	}
	put_legend(out, m, cell, y + 16);
	fputs("</svg>\n", out);
}
