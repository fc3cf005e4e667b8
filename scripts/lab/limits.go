package lab

// RaisedLimits is the environment of a server whose limits are not the subject of a measurement or
// test: it serves thousands of clients from one address that send as fast as they can.
func RaisedLimits() []string {
	return []string{
		"SECMSG_LIMITS_MESSAGES_BURST=1000000000",
		"SECMSG_LIMITS_MAILBOX_ENVELOPES=10000000",
		"SECMSG_LIMITS_MAILBOX_BYTES=64GiB",
		"SECMSG_LIMITS_LOOKUPS_BURST=1000000",
		"SECMSG_LIMITS_BUNDLES_BURST=1000000",
		"SECMSG_LIMITS_REGISTRATION_BURST=1000000",
		"SECMSG_LIMITS_LOGINS_BURST=1000000",
		"SECMSG_LIMITS_CONNECTIONS_PER_ADDRESS=100000",
		"SECMSG_LIMITS_CONNECTIONS_TOTAL=100000",
		"SECMSG_LIMITS_CONNECTIONS_NEW_BURST=1000000",
	}
}
