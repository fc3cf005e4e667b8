package seal

// Labels that separate the uses of this package's keys. Those of the committed AEAD are in
// committed.go.
const (
	// labelCell begins the associated data of a value at rest, so that the value cannot be taken for
	// anything else sealed under the storage key.
	labelCell = "secmsg v1 cell"
	// labelPassphrase derives key and commitment from the output of Argon2id.
	labelPassphrase = "secmsg v1 passphrase wrap"
	// labelQueue is the HPKE info of a locked profile's queue.
	labelQueue = "secmsg v1 locked queue"
)

// version is the first byte of every sealed form.
const version = 1
