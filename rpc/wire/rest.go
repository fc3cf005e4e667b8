package wire

// The JSON bodies of the REST API. []byte fields are standard base64. Every signed structure (chain,
// manifest, prekey, statement) is carried as the exact signed bytes; crypto/SPEC.md defines their
// layouts.

// Realm answers GET /v1/realm: the first thing a client fetches on a connection.
type Realm struct {
	Protocol  int    `json:"protocol" doc:"the version of the protocol that the server speaks: 1"`
	Root      []byte `json:"root" doc:"the realm's root certificate (DER); its SHA-256 is the realm's fingerprint, which the client has pinned"`
	Issuing   []byte `json:"issuing" doc:"the issuing CA certificate (DER) that signed the statement"`
	Statement []byte `json:"statement" doc:"the signed realm statement; its layout stands in crypto/SPEC.md"`
	TimeMS    int64  `json:"time_ms" doc:"the server's clock, Unix milliseconds"`
}

// Register is the body of POST /v1/accounts. Repeating it with the same token and keys gives the same
// answer.
type Register struct {
	Token    []byte `json:"token" doc:"the invite's 16 bytes"`
	Name     string `json:"name" doc:"the wished account name: the part before the @"`
	CSR      []byte `json:"csr" doc:"certificate request (PKCS #10, DER), signed by the account identity key"`
	Manifest []byte `json:"manifest" doc:"version 1, signed by the identity key, listing the first device"`
	Proof    []byte `json:"proof" doc:"registration proof, signed by the device's signing key"`
}

// Registered answers POST /v1/accounts.
type Registered struct {
	Address string   `json:"address" doc:"the full address, user@domain"`
	Chain   [][]byte `json:"chain" doc:"the account's certificate and the issuing one, DER"`
}

// Challenge is the body of POST /v1/challenges.
type Challenge struct {
	Account string `json:"account" doc:"account name"`
	Device  string `json:"device" doc:"device id: 26 characters of base32, lower case, without padding"`
}

// Challenged answers POST /v1/challenges. It looks the same for unknown accounts and devices.
type Challenged struct {
	Nonce     []byte `json:"nonce" doc:"what the device signs, once"`
	ExpiresMS int64  `json:"expires_ms" doc:"until when, Unix milliseconds"`
}

// TokenRequest is the body of POST /v1/tokens.
type TokenRequest struct {
	Account   string `json:"account" doc:"account name"`
	Device    string `json:"device" doc:"device id, base32 text"`
	Role      Role   `json:"role" enum:"replica,contact,api" doc:"what the token is to be good for"`
	Nonce     []byte `json:"nonce" doc:"the nonce of a challenge for this account and device"`
	Signature []byte `json:"signature" doc:"challenge signature of the device key over domain, account, device, role and nonce (crypto/SPEC.md)"`
}

// Token answers POST /v1/tokens.
type Token struct {
	Token     string `json:"token" doc:"opaque; travels as Authorization: Bearer TOKEN"`
	ExpiresMS int64  `json:"expires_ms" doc:"until when it lets its holder begin something, Unix milliseconds"`
	TimeMS    int64  `json:"time_ms" doc:"the server's clock, Unix milliseconds"`
}

// Account answers GET /v1/accounts/{name}.
type Account struct {
	Chain    [][]byte `json:"chain" doc:"the account's certificate and the issuing one, DER"`
	Manifest []byte   `json:"manifest" doc:"the newest manifest, as it was signed"`
}

// Manifests answers GET /v1/accounts/{name}/manifests?after=V, oldest first, at most 50.
type Manifests struct {
	Manifests [][]byte `json:"manifests" doc:"manifests as they were signed, oldest first; at most 50"`
}

// PutManifest is the body of PUT /v1/manifest: compare-and-set on the previous manifest's hash.
type PutManifest struct {
	Previous []byte `json:"previous" doc:"SHA-256 of the manifest that this one follows"`
	Manifest []byte `json:"manifest" doc:"the next manifest, signed by the identity key"`
}

// Certificate answers POST /v1/certificate, which reissues the caller's certificate for the same key.
type Certificate struct {
	Chain [][]byte `json:"chain" doc:"the account's certificate and the issuing one, DER"`
}

// DeviceBundle contains the keys for starting a session with one device. Every prekey is a signed
// prekey in the layout of crypto/SPEC.md.
type DeviceBundle struct {
	Device          string `json:"device" doc:"device id, base32 text"`
	SignedPrekey    []byte `json:"signed_prekey" doc:"the signed X25519 prekey"`
	KEMPrekey       []byte `json:"kem_prekey" doc:"an ML-KEM-768 prekey: a one-time one if any is left, else the last-resort one"`
	OneTimeExchange []byte `json:"one_time_exchange,omitempty" doc:"a one-time X25519 prekey; absent when none is left"`
}

// BundlesRequest is the body of POST /v1/accounts/{name}/bundles. No devices means all.
type BundlesRequest struct {
	Devices []string `json:"devices,omitempty" doc:"device ids, base32 text; none: all devices of the account. The calling device is left out"`
}

// Bundles answers POST /v1/accounts/{name}/bundles. One response covers all devices; those without a
// valid bundle are left out.
type Bundles struct {
	Chain    [][]byte       `json:"chain" doc:"the account's certificate and the issuing one, DER"`
	Manifest []byte         `json:"manifest" doc:"the newest manifest"`
	Devices  []DeviceBundle `json:"devices" doc:"a bundle for each device that has a valid one"`
}

// PutPrekeys is the body of PUT /v1/prekeys, for the calling device. The signed and last-resort keys
// replace the previous ones; one-time keys are added.
type PutPrekeys struct {
	SignedPrekey    []byte   `json:"signed_prekey,omitempty" doc:"replaces the former one; absent: it stays"`
	LastResortKEM   []byte   `json:"last_resort_kem,omitempty" doc:"replaces the former one; absent: it stays"`
	OneTimeExchange [][]byte `json:"one_time_exchange,omitempty" doc:"added to the stock: at most 100 a call, each with an id of its own"`
	OneTimeKEM      [][]byte `json:"one_time_kem,omitempty" doc:"added to the stock: at most 100 a call, each with an id of its own"`
	Steps           uint64   `json:"steps" doc:"the device's count of transactions that changed a session (PROTOCOL.md, section 3.1); 0: not said"`
}

// PrekeyCount answers GET and PUT /v1/prekeys.
type PrekeyCount struct {
	SignedExpiresMS     int64 `json:"signed_expires_ms" doc:"when the signed prekey expires, Unix milliseconds; 0: there is none"`
	LastResortExpiresMS int64 `json:"last_resort_expires_ms" doc:"when the last-resort prekey expires, Unix milliseconds; 0: there is none"`
	OneTimeExchange     int   `json:"one_time_exchange" doc:"one-time X25519 prekeys that are left"`
	OneTimeKEM          int   `json:"one_time_kem" doc:"one-time ML-KEM-768 prekeys that are left"`
}

// StoredPrekeys answers PUT /v1/prekeys: the stock, and which one-time keys of the upload are or were
// in it. A key that is not listed was not stored, and nobody will use it.
type StoredPrekeys struct {
	PrekeyCount
	KeptExchange []uint32 `json:"kept_exchange" doc:"ids of those one-time X25519 prekeys of this upload that the server has, or had until somebody fetched them"`
	KeptKEM      []uint32 `json:"kept_kem" doc:"the same for ML-KEM-768"`
}

// Relation is an account's relation to another account, as set by its owner.
type Relation string

// The relations of a contact list entry.
const (
	RelationContact Relation = "contact"
	RelationBlocked Relation = "blocked"
)

// PutContact is the body of PUT /v1/contacts/{name}; DELETE removes the entry.
type PutContact struct {
	Relation Relation `json:"relation" enum:"contact,blocked" doc:"contact: takes messages, presence and calls of that account; blocked: takes nothing"`
}

// ContactEntry is one row of GET /v1/contacts.
type ContactEntry struct {
	Name     string   `json:"name" doc:"account name"`
	Relation Relation `json:"relation" enum:"contact,blocked" doc:"how the caller set it"`
}

// Contacts answers GET /v1/contacts.
type Contacts struct {
	Contacts []ContactEntry `json:"contacts" doc:"sorted by name"`
}
