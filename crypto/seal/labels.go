package seal

// Labels that keep apart what the keys of this package are used for. Those of
// the committed AEAD stand in committed.go.
const (
	// labelCell begins the associated data of a value at rest, so that it can
	// be nothing else that the storage key might ever seal.
	labelCell = "secmsg v1 cell"
	// labelPassphrase derives key and commitment from what Argon2id gave.
	labelPassphrase = "secmsg v1 passphrase wrap"
	// labelQueue is the HPKE info of what a locked profile queues.
	labelQueue = "secmsg v1 locked queue"
)

// version is the first byte of every sealed form.
const version = 1
