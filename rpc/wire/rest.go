package wire

// The JSON bodies of the REST API. []byte fields are standard base64. Every
// signed structure (chain, manifest, prekey, statement) travels as the exact
// bytes that were signed; their layouts stand in crypto/SPEC.md.

// Realm answers GET /v1/realm: the first thing a client fetches on a connection.
type Realm struct {
	// Protocol is the version that the server speaks.
	Protocol int `json:"protocol"`
	// Root is the realm's root certificate (DER); its SHA-256 is the realm's fingerprint.
	Root []byte `json:"root"`
	// Issuing is the issuing CA certificate (DER) that signed the statement.
	Issuing []byte `json:"issuing"`
	// Statement is the signed realm statement.
	Statement []byte `json:"statement"`
	// TimeMS is the server's clock in Unix milliseconds.
	TimeMS int64 `json:"time_ms"`
}

// Register is the body of POST /v1/accounts. Repeating it with the same token
// and the same keys gives the same answer.
type Register struct {
	Token    []byte `json:"token"`    // the invite's 16 bytes
	Name     string `json:"name"`     // the wished account name
	CSR      []byte `json:"csr"`      // PKCS #10, signed by the account identity key
	Manifest []byte `json:"manifest"` // version 1, signed by the identity key, listing the first device
	Proof    []byte `json:"proof"`    // registration proof, signed by the device's signing key
}

// Registered answers POST /v1/accounts.
type Registered struct {
	Address string   `json:"address"` // user@domain
	Chain   [][]byte `json:"chain"`   // leaf and issuing certificate, DER
}

// Challenge is the body of POST /v1/challenges.
type Challenge struct {
	Account string `json:"account"`
	Device  string `json:"device"`
}

// Challenged answers POST /v1/challenges. It looks the same for unknown accounts and devices.
type Challenged struct {
	Nonce     []byte `json:"nonce"`
	ExpiresMS int64  `json:"expires_ms"`
}

// TokenRequest is the body of POST /v1/tokens.
type TokenRequest struct {
	Account   string `json:"account"`
	Device    string `json:"device"`
	Role      Role   `json:"role"`
	Nonce     []byte `json:"nonce"`
	Signature []byte `json:"signature"` // challenge signature of the device key over domain, account, device, role and nonce
}

// Token answers POST /v1/tokens.
type Token struct {
	Token     string `json:"token"`
	ExpiresMS int64  `json:"expires_ms"`
	TimeMS    int64  `json:"time_ms"`
}

// Account answers GET /v1/accounts/{name}.
type Account struct {
	Chain    [][]byte `json:"chain"`
	Manifest []byte   `json:"manifest"` // the newest
}

// Manifests answers GET /v1/accounts/{name}/manifests?after=V, oldest first, at most 50.
type Manifests struct {
	Manifests [][]byte `json:"manifests"`
}

// PutManifest is the body of PUT /v1/manifest: compare-and-set on the previous manifest's hash.
type PutManifest struct {
	Previous []byte `json:"previous"`
	Manifest []byte `json:"manifest"`
}

// Certificate answers POST /v1/certificate, which reissues the caller's certificate for the same key.
type Certificate struct {
	Chain [][]byte `json:"chain"`
}

// DeviceBundle is what is needed to start a session with one device. Every
// prekey is a signed prekey in the layout of crypto/SPEC.md.
type DeviceBundle struct {
	Device          string `json:"device"`
	SignedPrekey    []byte `json:"signed_prekey"`
	KEMPrekey       []byte `json:"kem_prekey"`                  // one-time if one is left, else the last-resort key
	OneTimeExchange []byte `json:"one_time_exchange,omitempty"` // absent when the stock is used up
}

// BundlesRequest is the body of POST /v1/accounts/{name}/bundles. No devices means all.
type BundlesRequest struct {
	Devices []string `json:"devices,omitempty"`
}

// Bundles answers POST /v1/accounts/{name}/bundles; one call returns all devices.
// A device without a valid bundle is left out.
type Bundles struct {
	Chain    [][]byte       `json:"chain"`
	Manifest []byte         `json:"manifest"`
	Devices  []DeviceBundle `json:"devices"`
}

// PutPrekeys is the body of PUT /v1/prekeys, for the calling device. The
// signed and last-resort keys replace the former ones; one-time keys are added.
type PutPrekeys struct {
	SignedPrekey    []byte   `json:"signed_prekey,omitempty"`
	LastResortKEM   []byte   `json:"last_resort_kem,omitempty"`
	OneTimeExchange [][]byte `json:"one_time_exchange,omitempty"`
	OneTimeKEM      [][]byte `json:"one_time_kem,omitempty"`
	Steps           uint64   `json:"steps"`
}

// PrekeyCount answers GET and PUT /v1/prekeys.
type PrekeyCount struct {
	SignedExpiresMS     int64 `json:"signed_expires_ms"`      // 0: none
	LastResortExpiresMS int64 `json:"last_resort_expires_ms"` // 0: none
	OneTimeExchange     int   `json:"one_time_exchange"`
	OneTimeKEM          int   `json:"one_time_kem"`
}

// Relation is how an account stands to another one, as its owner set it.
type Relation string

// The relations of a contact list entry.
const (
	RelationContact Relation = "contact"
	RelationBlocked Relation = "blocked"
)

// PutContact is the body of PUT /v1/contacts/{name}; DELETE removes the entry.
type PutContact struct {
	Relation Relation `json:"relation"`
}

// ContactEntry is one row of GET /v1/contacts.
type ContactEntry struct {
	Name     string   `json:"name"`
	Relation Relation `json:"relation"`
}

// Contacts answers GET /v1/contacts.
type Contacts struct {
	Contacts []ContactEntry `json:"contacts"`
}
