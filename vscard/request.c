/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The codec of our own messages; what they mean is in PROTOCOL.md.
 */

#include "vscard/request.h"

#include <string.h>

/* ---- Requests and answers ---- */

/* The numbers of the outcomes on the wire. */
static const uint32_t codes[] = {
	[VSC_OUTCOME_OK] = 0,   [VSC_OUTCOME_NO_CARD] = 1, [VSC_OUTCOME_NOT_POWERED] = 2,
	[VSC_OUTCOME_MUTE] = 3, [VSC_OUTCOME_FAILED] = 4,  [VSC_OUTCOME_CANCELLED] = 5,
};

bool vsc_request_get(VmcSpan payload, VscRequest *request)
{
	VscRequest r;

	if (!vmc_span_u32be(&payload, &r.token) || !vmc_span_u32be(&payload, &r.what))
		return false;
	r.data = payload;
	*request = r;
	return true;
}

void vsc_request_put(uint8_t to[VSC_WIRE_PREFIX], VscWireToken token, uint32_t what)
{
	vmc_put_u32be(to, token);
	vmc_put_u32be(to + 4, what);
}

uint32_t vsc_request_code(VscOutcome outcome)
{
	g_return_val_if_fail(outcome < G_N_ELEMENTS(codes), codes[VSC_OUTCOME_FAILED]);

	return codes[outcome];
}

VscOutcome vsc_request_outcome(uint32_t code)
{
	for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
		if (codes[i] == code)
			return (VscOutcome)i;
	}
	return VSC_OUTCOME_FAILED;
}

bool vsc_request_get_token(VmcSpan payload, VscWireToken *token)
{
	return payload.len == VSC_TOKEN_LENGTH && vmc_span_u32be(&payload, token);
}

void vsc_request_put_token(uint8_t to[VSC_TOKEN_LENGTH], VscWireToken token)
{
	vmc_put_u32be(to, token);
}

const char *vsc_request_name(uint32_t kind)
{
	static const char *const names[] = {
		[VSC_REQUEST_POWER_ON] = "power on",
		[VSC_REQUEST_POWER_OFF] = "power off",
		[VSC_REQUEST_RESET] = "reset",
		[VSC_REQUEST_TRANSMIT] = "transmit",
	};

	return kind < G_N_ELEMENTS(names) ? names[kind] : NULL;
}

/* ---- ReaderInfo ---- */

/* Tag n + 1 is where[n] in a VscDescription. */
static const size_t where[] = {
	offsetof(VscDescription, name),
	offsetof(VscDescription, info.vendor),
	offsetof(VscDescription, info.type),
	offsetof(VscDescription, info.serial),
};

_Static_assert(VSC_READER_INFO_MAX == G_N_ELEMENTS(where) * (4u + VSC_READER_TEXT_MAX),
	       "there is room for each text");

static char **text_of(VscDescription *description, size_t i)
{
	return (char **)((char *)description + where[i]);
}

static const char *text_in(const VscDescription *description, size_t i)
{
	return *text_of((VscDescription *)description, i);
}

void vsc_description_clear(VscDescription *description)
{
	for (size_t i = 0; i < G_N_ELEMENTS(where); i++)
		g_clear_pointer(text_of(description, i), g_free);
}

void vsc_description_copy(VscDescription *to, const char *name, const VscReaderInfo *info)
{
	VscDescription copy = {
		.name = g_strdup(name),
		.info = { .vendor = g_strdup(info->vendor),
			  .type = g_strdup(info->type),
			  .serial = g_strdup(info->serial) },
	};

	vsc_description_clear(to);
	*to = copy;
}

bool vsc_description_equal(const VscDescription *one, const VscDescription *other)
{
	for (size_t i = 0; i < G_N_ELEMENTS(where); i++) {
		if (g_strcmp0(text_in(one, i), text_in(other, i)) != 0)
			return false;
	}
	return true;
}

/* How much of `text` there is room for without cutting a character in two. */
static size_t fitting(const char *text)
{
	size_t len = strlen(text);

	if (len <= VSC_READER_TEXT_MAX)
		return len;
	len = VSC_READER_TEXT_MAX;
	while (len > 0 && ((uint8_t)text[len] & 0xc0) == 0x80)
		len--;
	return len;
}

char *vsc_description_text(VmcSpan text)
{
	/* A character that begins within the limit ends within three bytes more. */
	g_autofree char *raw = g_strndup(text.len > 0 ? (const char *)text.data : "",
					 MIN(text.len, VSC_READER_TEXT_MAX + 3));
	char *valid;

	for (char *c = raw; *c != '\0'; c++) {
		if (g_ascii_iscntrl(*c))
			*c = ' ';
	}
	valid = g_utf8_make_valid(raw, -1);
	valid[fitting(valid)] = '\0';
	return g_strstrip(valid);
}

bool vsc_description_get(VmcSpan payload, VscDescription *description)
{
	VscDescription d = { 0 };
	uint16_t tag, length;
	VmcSpan value;

	while (payload.len > 0) {
		if (!vmc_span_u16be(&payload, &tag) || !vmc_span_u16be(&payload, &length) ||
		    !vmc_span_take(&payload, length, &value)) {
			vsc_description_clear(&d);
			return false;
		}
		if (tag == 0 || tag > G_N_ELEMENTS(where))
			continue;
		g_free(*text_of(&d, tag - 1u));
		*text_of(&d, tag - 1u) = vsc_description_text(value);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(where); i++) {
		if (text_in(&d, i) != NULL && *text_in(&d, i) == '\0')
			g_clear_pointer(text_of(&d, i), g_free);
	}
	*description = d;
	return true;
}

size_t vsc_description_put(uint8_t to[VSC_READER_INFO_MAX], const VscDescription *description)
{
	size_t n = 0;

	for (size_t i = 0; i < G_N_ELEMENTS(where); i++) {
		const char *text = text_in(description, i);
		size_t len = text != NULL ? fitting(text) : 0;

		if (len == 0)
			continue;
		vmc_put_u16be(to + n, (uint16_t)(i + 1));
		vmc_put_u16be(to + n + 2, (uint16_t)len);
		memcpy(to + n + 4, text, len);
		n += 4 + len;
	}
	return n;
}
