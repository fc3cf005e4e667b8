package relay

import (
	"google.golang.org/protobuf/encoding/protowire"

	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// Field numbers of wire.proto that appendDeliver writes. A test compares them with the generated code.
const (
	fieldReplicaDeliver   = 2
	fieldDeliverFirst     = 1
	fieldDeliverEnvelopes = 2
	fieldMessageID        = 1
	fieldClass            = 2
	fieldSender           = 3
	fieldSenderDevice     = 4
	fieldAccepted         = 5
	fieldExpires          = 6
	fieldCiphertext       = 7
	fieldNotice           = 8
	fieldNoticeMessageID  = 1
	fieldNoticeRecipient  = 2
	fieldNoticeDevice     = 3
	fieldNoticeReason     = 4
)

// appendDeliver encodes a ReplicaServer frame with a Deliver. It is hand-written because it is the hot path: it copies
// each ciphertext once and allocates nothing.
func appendDeliver(buf []byte, first uint64, items []*item) []byte {
	size := protowire.SizeTag(fieldDeliverFirst) + protowire.SizeVarint(first)
	for _, it := range items {
		size += protowire.SizeTag(fieldDeliverEnvelopes) + protowire.SizeBytes(envelopeSize(&it.mail))
	}
	buf = protowire.AppendTag(buf, fieldReplicaDeliver, protowire.BytesType)
	buf = protowire.AppendVarint(buf, uint64(size))
	buf = protowire.AppendTag(buf, fieldDeliverFirst, protowire.VarintType)
	buf = protowire.AppendVarint(buf, first)
	for _, it := range items {
		buf = protowire.AppendTag(buf, fieldDeliverEnvelopes, protowire.BytesType)
		buf = protowire.AppendVarint(buf, uint64(envelopeSize(&it.mail)))
		buf = appendEnvelope(buf, &it.mail)
	}
	return buf
}

// All field numbers are below 16, so a tag takes one byte.
func varintFieldSize(v uint64) int { return 1 + protowire.SizeVarint(v) }
func bytesFieldSize(n int) int     { return 1 + protowire.SizeBytes(n) }

func envelopeSize(m *store.Mail) int {
	n := bytesFieldSize(len(m.MessageID)) + varintFieldSize(uint64(m.Class)) +
		varintFieldSize(uint64(m.Accepted.UnixMilli())) + varintFieldSize(uint64(m.Expires.UnixMilli()))
	if m.Class == uint8(wire.Class_CLASS_NOTICE) {
		return n + bytesFieldSize(noticeSize(m))
	}
	return n + bytesFieldSize(len(m.Sender)) + bytesFieldSize(len(m.SenderDevice)) + bytesFieldSize(len(m.Ciphertext))
}

func noticeSize(m *store.Mail) int {
	return bytesFieldSize(len(m.MessageID)) + bytesFieldSize(len(m.NoticeRecipient)) +
		bytesFieldSize(len(m.NoticeDevice)) + varintFieldSize(uint64(m.NoticeReason))
}

func appendEnvelope(buf []byte, m *store.Mail) []byte {
	buf = appendBytes(buf, fieldMessageID, m.MessageID[:])
	buf = appendVarint(buf, fieldClass, uint64(m.Class))
	notice := m.Class == uint8(wire.Class_CLASS_NOTICE)
	if !notice {
		buf = protowire.AppendTag(buf, fieldSender, protowire.BytesType)
		buf = protowire.AppendString(buf, m.Sender)
		buf = appendBytes(buf, fieldSenderDevice, m.SenderDevice[:])
	}
	buf = appendVarint(buf, fieldAccepted, uint64(m.Accepted.UnixMilli()))
	buf = appendVarint(buf, fieldExpires, uint64(m.Expires.UnixMilli()))
	if !notice {
		return appendBytes(buf, fieldCiphertext, m.Ciphertext)
	}
	buf = protowire.AppendTag(buf, fieldNotice, protowire.BytesType)
	buf = protowire.AppendVarint(buf, uint64(noticeSize(m)))
	buf = appendBytes(buf, fieldNoticeMessageID, m.MessageID[:])
	buf = protowire.AppendTag(buf, fieldNoticeRecipient, protowire.BytesType)
	buf = protowire.AppendString(buf, m.NoticeRecipient)
	buf = appendBytes(buf, fieldNoticeDevice, m.NoticeDevice[:])
	return appendVarint(buf, fieldNoticeReason, uint64(m.NoticeReason))
}

func appendBytes(buf []byte, field protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(buf, field, protowire.BytesType), b)
}

func appendVarint(buf []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(buf, field, protowire.VarintType), v)
}
