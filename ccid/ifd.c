/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libifdvscard.so: an IFD handler for pcscd whose reader is a VSCard peer, so
 * that a host gets a remote card without USB. Here are the functions that pcscd
 * calls and what their results are called there; what is the same for every
 * one: a Lun that is not open is IFD_COMMUNICATION_ERROR. IFD_NO_SUCH_DEVICE is
 * never answered, since pcscd would take the reader away for good: a reader
 * without a peer is one without a card.
 */

#include "ccid/ifd-handler.h"
#include "ccid/ifd-log.h"
#include "ccid/ifd-readers.h"
#include "vscard/atr.h"

/* What a reader of CHANNELID and no DEVICENAME is: a port on loopback. */
#define CHANNEL_DEVICE "socket,host=127.0.0.1,port=%lu,server=on"
#define CHANNEL_MAX 65535ul

/* ---- Channels ---- */

static RESPONSECODE open_lun(DWORD lun, const char *name)
{
	g_autoptr(GError) error = NULL;

	ifd_log_start();
	if (ifd_readers_open(lun, name, &error))
		return IFD_SUCCESS;
	/* pcscd does not try again: it is for the administrator to put right. */
	g_warning("cannot open the reader: %s", error->message);
	return IFD_COMMUNICATION_ERROR;
}

RESPONSECODE IFDHCreateChannelByName(DWORD Lun, LPSTR DeviceName)
{
	if (DeviceName == NULL)
		return IFD_COMMUNICATION_ERROR;
	return open_lun(Lun, DeviceName);
}

RESPONSECODE IFDHCreateChannel(DWORD Lun, DWORD Channel)
{
	g_autofree char *name = NULL;

	if (Channel == 0 || Channel > CHANNEL_MAX) {
		ifd_log_start();
		g_warning("CHANNELID %lu is no TCP port; write one, or a DEVICENAME", Channel);
		return IFD_COMMUNICATION_ERROR;
	}
	name = g_strdup_printf(CHANNEL_DEVICE, Channel);
	return open_lun(Lun, name);
}

RESPONSECODE IFDHCloseChannel(DWORD Lun)
{
	return ifd_readers_close(Lun) ? IFD_SUCCESS : IFD_COMMUNICATION_ERROR;
}

/* ---- The card ---- */

RESPONSECODE IFDHICCPresence(DWORD Lun)
{
	IfdPlace place;
	bool present;

	if (!ifd_readers_get(Lun, &place))
		return IFD_COMMUNICATION_ERROR;
	present = ifd_channel_present(place.channel, place.slot);
	ifd_readers_put(&place);
	return present ? IFD_ICC_PRESENT : IFD_ICC_NOT_PRESENT;
}

static RESPONSECODE power_code(IfdPower power, IfdResult result)
{
	switch (result) {
	case IFD_RESULT_OK:
		return IFD_SUCCESS;
	case IFD_RESULT_NO_CARD:
		/* No card has no power. */
		return power == IFD_POWER_NONE ? IFD_SUCCESS : IFD_ERROR_POWER_ACTION;
	case IFD_RESULT_NOT_POWERED:
	case IFD_RESULT_MUTE:
	case IFD_RESULT_FAILED:
	case IFD_RESULT_NO_ROOM:
		return IFD_ERROR_POWER_ACTION;
	case IFD_RESULT_BUSY:
	case IFD_RESULT_CLOSED:
		return IFD_COMMUNICATION_ERROR;
	}
	g_return_val_if_reached(IFD_COMMUNICATION_ERROR);
}

static bool read_action(DWORD action, IfdPower *power)
{
	switch (action) {
	case IFD_POWER_UP:
		*power = IFD_POWER_COLD;
		return true;
	case IFD_RESET:
		*power = IFD_POWER_WARM;
		return true;
	case IFD_POWER_DOWN:
		*power = IFD_POWER_NONE;
		return true;
	default:
		return false;
	}
}

RESPONSECODE IFDHPowerICC(DWORD Lun, DWORD Action, PUCHAR Atr, PDWORD AtrLength)
{
	uint8_t atr[VSC_ATR_MAX];
	size_t len = 0;
	IfdPower power;
	IfdPlace place;
	RESPONSECODE code;
	DWORD room;

	_Static_assert(VSC_ATR_MAX <= MAX_ATR_SIZE, "pcscd's buffers hold every ATR");
	if (Atr == NULL || AtrLength == NULL)
		return IFD_COMMUNICATION_ERROR;
	room = *AtrLength;
	*AtrLength = 0;
	if (!read_action(Action, &power))
		return IFD_NOT_SUPPORTED;
	if (!ifd_readers_get(Lun, &place))
		return IFD_COMMUNICATION_ERROR;
	code = power_code(power, ifd_channel_power(place.channel, place.slot, power, atr, &len));
	ifd_readers_put(&place);
	if (len > room)
		return IFD_ERROR_INSUFFICIENT_BUFFER;
	for (size_t i = 0; i < len; i++)
		Atr[i] = atr[i];
	*AtrLength = len;
	return code;
}

/* The VSCard peer takes APDUs whatever its card speaks; nothing is set here.
 * But a protocol that the card does not have is not one that was set. */
RESPONSECODE IFDHSetProtocolParameters(DWORD Lun, DWORD Protocol, G_GNUC_UNUSED UCHAR Flags,
				       G_GNUC_UNUSED UCHAR PTS1, G_GNUC_UNUSED UCHAR PTS2,
				       G_GNUC_UNUSED UCHAR PTS3)
{
	uint8_t bytes[VSC_ATR_MAX];
	const char *because;
	IfdPlace place;
	VscAtr atr;
	size_t len;

	if (Protocol != SCARD_PROTOCOL_T0 && Protocol != SCARD_PROTOCOL_T1)
		return IFD_PROTOCOL_NOT_SUPPORTED;
	if (!ifd_readers_get(Lun, &place))
		return IFD_COMMUNICATION_ERROR;
	len = ifd_channel_atr(place.channel, place.slot, bytes);
	ifd_readers_put(&place);
	if (len == 0)
		return IFD_ERROR_PTS_FAILURE;
	/* Cards with a slip in their ATR are about: pcscd reads it for itself. */
	if (!vsc_atr_parse(vmc_span(bytes, len), &atr, &because))
		return IFD_SUCCESS;
	if (!(Protocol == SCARD_PROTOCOL_T0 ? atr.t0 : atr.t1))
		return IFD_PROTOCOL_NOT_SUPPORTED;
	return IFD_SUCCESS;
}

static RESPONSECODE transmit_code(IfdResult result)
{
	switch (result) {
	case IFD_RESULT_OK:
		return IFD_SUCCESS;
	case IFD_RESULT_NO_CARD:
		return IFD_ICC_NOT_PRESENT;
	case IFD_RESULT_MUTE:
		return IFD_RESPONSE_TIMEOUT;
	case IFD_RESULT_NO_ROOM:
		return IFD_ERROR_INSUFFICIENT_BUFFER;
	case IFD_RESULT_NOT_POWERED:
	case IFD_RESULT_FAILED:
	case IFD_RESULT_BUSY:
	case IFD_RESULT_CLOSED:
		return IFD_COMMUNICATION_ERROR;
	}
	g_return_val_if_reached(IFD_COMMUNICATION_ERROR);
}

RESPONSECODE IFDHTransmitToICC(DWORD Lun, SCARD_IO_HEADER SendPci, PUCHAR TxBuffer, DWORD TxLength,
			       PUCHAR RxBuffer, PDWORD RxLength, PSCARD_IO_HEADER RecvPci)
{
	IfdPlace place;
	IfdResult result;
	size_t len;

	if (TxBuffer == NULL || RxBuffer == NULL || RxLength == NULL)
		return IFD_COMMUNICATION_ERROR;
	len = *RxLength;
	*RxLength = 0;
	if (TxLength == 0 || TxLength > VSC_COMMAND_MAX)
		return IFD_COMMUNICATION_ERROR;
	if (!ifd_readers_get(Lun, &place))
		return IFD_COMMUNICATION_ERROR;
	result = ifd_channel_transmit(place.channel, place.slot, vmc_span(TxBuffer, TxLength),
				      RxBuffer, &len);
	ifd_readers_put(&place);
	*RxLength = len;
	if (RecvPci != NULL)
		RecvPci->Protocol = SendPci.Protocol;
	return transmit_code(result);
}
