package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"secmsg/crypto/key"
)

// update rewrites the vectors in crypto/testdata. They are the protocol: changing their contents means
// a new version. crypto/testdata/README.md describes their format.
var update = flag.Bool("update", false, "write new vectors")

// seed returns the 32-byte seed of a vector's key.
func seed(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

type object = map[string]any

// vectorMaker creates identity.json from seeds. Everything in the file follows from its inputs, so it
// can be compared as a whole.
type vectorMaker struct{ t *testing.T }

func (m vectorMaker) signing(n byte) key.SigningPrivate {
	return must[key.SigningPrivate](m.t)(key.ParseSigningSeed(seed(n)))
}

func (m vectorMaker) exchange(n byte) key.ExchangePublic {
	return must[key.ExchangePrivate](m.t)(key.ParseExchangePrivate(seed(n))).Public()
}

func text(b []byte) string { return hex.EncodeToString(b) }

// device is the device with signing seed s and exchange seed x.
func (m vectorMaker) device(s, x byte, name string, added time.Time) (Device, object) {
	d := Device{Signing: m.signing(s).Public(), Exchange: m.exchange(x), Name: name, Added: added}
	d.ID = key.NewDeviceID(d.Signing, d.Exchange)
	return d, object{"signing_seed": text(seed(s)), "exchange_private": text(seed(x)), "name": name, "added": added.Unix()}
}

func (m vectorMaker) make() object {
	t, identity, dev := m.t, m.signing(1), m.signing(2)
	laptop, laptopIn := m.device(2, 4, "laptop", now)
	phone, phoneIn := m.device(3, 5, "Büro", now.Add(60e9))
	manifest := func(version uint64, previous [32]byte, at time.Time, devices []Device, in []object) ([]byte, object) {
		signed := must[[]byte](t)(Manifest{Address: alice, Version: version, Previous: previous, Devices: devices, Time: at}.Sign(identity))
		hash := ManifestHash(signed)
		return signed, object{
			"identity_seed": text(seed(1)), "address": alice.String(), "version": version, "previous": text(previous[:]), "time": at.Unix(),
			"devices": in, "signed": text(signed), "hash": text(hash[:]),
		}
	}
	first, firstIn := manifest(1, [32]byte{}, now, []Device{laptop}, []object{laptopIn})
	second, secondIn := manifest(2, ManifestHash(first), now.Add(60e9), []Device{laptop, phone}, []object{laptopIn, phoneIn})
	renewed, renewedIn := manifest(3, ManifestHash(second), now.Add(ManifestRenewAfter), []Device{laptop, phone}, []object{laptopIn, phoneIn})
	fork, _ := manifest(2, [32]byte(seed(9)), now, []Device{laptop}, []object{laptopIn})

	prekey := func(kind PrekeyKind, id uint32, private []byte) ([]byte, object) {
		p := Prekey{Kind: kind, ID: id, Expires: now.Add(PrekeyLifetime)}
		if kind.IsKEM() {
			p.KEM = must[key.KEMPrivate](t)(key.ParseKEMSeed(private)).Public()
		} else {
			p.Exchange = must[key.ExchangePrivate](t)(key.ParseExchangePrivate(private)).Public()
		}
		encoded := must[[]byte](t)(must[Prekey](t)(SignPrekey(dev, laptop.ID, alice, p)).Marshal())
		return encoded, object{
			"address": alice.String(), "signing_seed": text(seed(2)), "exchange_private": text(seed(4)), "kind": kind, "id": id,
			"expires": p.Expires.Unix(), "private": text(private), "encoded": text(encoded),
		}
	}
	spk, spkIn := prekey(SignedExchange, 7, seed(8))
	kem, kemIn := prekey(OneTimeKEM, 1<<32-1, append(seed(14), seed(15)...))

	statement := RealmStatement{
		Domain: alice.Domain, Entry: []string{"chat.example.com:8443", "[2001:db8::1]"},
		TLSKeys: [][sha256.Size]byte{[32]byte(seed(2)), [32]byte(seed(1))}, Epoch: [EpochSize]byte(seed(11)),
		LogKey: m.signing(12).Public(), Issued: now, Expires: now.Add(StatementLifetime),
	}
	signedStatement := must[[]byte](t)(statement.Sign(&Authority{Key: m.signing(6)}))
	token := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	invite := must[InviteToken](t)(InviteTokenFromBytes(token))
	tokenHash := invite.Hash()
	uri := must[string](t)(Invite{Addr: alice.Domain, Token: invite, Fingerprint: Fingerprint(seed(13))}.URI())
	number := must[SafetyNumber](t)(NewSafetyNumber(alice, identity.Public(), bob, m.signing(7).Public()))

	succession := func(name string, known, next []byte, result string) object {
		names := map[string]error{"ok": nil, "older": ErrOlder, "fork": ErrFork}
		if err := CheckSuccessor(known, next); (err == nil) != (result == "ok") || result != "ok" && !bytes.Contains([]byte(err.Error()), []byte(names[result].Error())) {
			t.Errorf("succession %s: %v, want %s", name, err, result)
		}
		return object{"name": name, "known": text(known), "next": text(next), "result": result}
	}
	return object{
		"comment":      "crypto/SPEC.md, from \"Keys and encodings\" to \"Safety number\"",
		"fingerprints": []object{{"public": text(identity.Public().Bytes()), "fingerprint": identity.Public().Fingerprint()}},
		"device_ids": []object{
			{"signing_seed": text(seed(2)), "exchange_private": text(seed(4)), "id": text(laptop.ID[:]), "text": laptop.ID.String()},
			{"signing_seed": text(seed(3)), "exchange_private": text(seed(5)), "id": text(phone.ID[:]), "text": phone.ID.String()},
		},
		"manifests": []object{firstIn, secondIn, renewedIn},
		"successions": []object{
			succession("the next", first, second, "ok"), succession("one that was signed anew", second, renewed, "ok"),
			succession("one version missing between", first, renewed, "ok"), succession("the same", second, second, "ok"),
			succession("an older one", second, first, "older"), succession("the same version with other bytes", second, fork, "fork"),
			succession("the next version after another one", first, fork, "fork"),
		},
		"prekeys": []object{spkIn, kemIn},
		"registrations": []object{{
			"address": alice.String(), "identity_seed": text(seed(1)), "signing_seed": text(seed(2)), "exchange_private": text(seed(4)),
			"proof": text(must[[]byte](t)(Registration{Address: alice, Identity: identity.Public(), Exchange: m.exchange(4)}.Sign(dev))),
		}},
		"challenges": []object{{
			"address": alice.String(), "signing_seed": text(seed(2)), "exchange_private": text(seed(4)), "role": "replica", "nonce": text(seed(10)),
			"answer": text(must[[]byte](t)(Challenge{Address: alice, Device: laptop.ID, Role: "replica", Nonce: seed(10)}.Sign(dev))),
		}},
		"statements": []object{{
			"issuing_seed": text(seed(6)), "domain": statement.Domain, "epoch": text(statement.Epoch[:]), "issued": now.Unix(),
			"expires": statement.Expires.Unix(), "entries": statement.Entry, "tls_keys": []string{text(seed(1)), text(seed(2))},
			"log_seed": text(seed(12)), "signed": text(signedStatement),
		}},
		"invites":        []object{{"address": alice.Domain, "token": text(token), "fingerprint": text(seed(13)), "uri": uri, "token_hash": text(tokenHash[:])}},
		"safety_numbers": []object{{"a": alice.String(), "a_seed": text(seed(1)), "b": bob.String(), "b_seed": text(seed(7)), "digits": number.String()}},
		"refused":        m.refused(first, second, spk, kem, signedStatement),
	}
}

// refused lists structures that no parser accepts, or no key verifies.
func (m vectorMaker) refused(first, second, spk, kem, statement []byte) []object {
	identity, dev, issuing := m.signing(1), m.signing(2), m.signing(6)
	laptop, _ := m.device(2, 4, "laptop", now)
	var out []object
	refuse := func(form, name, value string, taken bool) {
		if taken {
			m.t.Errorf("%s, %s: taken", form, name)
		}
		out = append(out, object{"form": form, "name": name, "value": value})
	}
	resign := func(signed []byte, label string, priv key.SigningPrivate, change func(body []byte) []byte) []byte {
		body := change(bytes.Clone(signed[:len(signed)-64]))
		return append(body, priv.Sign(signingInput(label, body))...)
	}
	man := func(name string, signed []byte) {
		_, err := VerifyManifest(signed, alice, identity.Public())
		refuse("manifest", name, text(signed), err == nil)
	}
	at := 1 + 1 + 5 + 1 + 16 // offset of the version
	edit := func(i int, b ...byte) func([]byte) []byte {
		return func(body []byte) []byte { copy(body[i:], b); return body }
	}
	man("signature changed", append(first[:len(first)-1:len(first)-1], first[len(first)-1]^1))
	man("signed by another key", resign(first, labelManifest, dev, func(b []byte) []byte { return b }))
	man("signed under another label", resign(first, labelStatement, identity, func(b []byte) []byte { return b }))
	man("another structure version", resign(first, labelManifest, identity, edit(0, 2)))
	man("of another account", resign(first, labelManifest, identity, edit(2, 'b')))
	man("version 0", resign(first, labelManifest, identity, edit(at, 0, 0, 0, 0, 0, 0, 0, 0)))
	man("version 2^53", resign(second, labelManifest, identity, edit(at, 0, 0x20, 0, 0, 0, 0, 0, 0)))
	man("version 1 with a previous one", resign(first, labelManifest, identity, edit(at+8, 1)))
	man("version 2 without a previous one", resign(second, labelManifest, identity, edit(at+8, make([]byte, 32)...)))
	man("a time after 9999", resign(first, labelManifest, identity, edit(at+40, 0, 0, 0, 0x3a, 0xff, 0xf4, 0x41, 0x80)))
	man("no device", resign(first, labelManifest, identity, func(b []byte) []byte { b[at+48] = 0; return b[:at+49] }))
	man("more devices than are there", resign(first, labelManifest, identity, edit(at+48, 2)))
	man("a byte behind the devices", resign(first, labelManifest, identity, func(b []byte) []byte { return append(b, 0) }))
	entry := len(first) - 64 - at - 49
	man("a device twice", resign(first, labelManifest, identity, func(b []byte) []byte { b[at+48] = 2; return append(b, b[len(b)-entry:]...) }))
	man("devices in the other order", resign(second, labelManifest, identity, func(b []byte) []byte {
		list := bytes.Clone(b[at+49:])
		n := len(list) - entry // the phone's name has another length; its entry is first
		return append(append(b[:at+49], list[n:]...), list[:n]...)
	}))
	// Both entries begin with the same signing key; they are in the order of their ids.
	twin, _ := m.device(2, 6, "laptop", now)
	pair := []Device{laptop, twin}
	if bytes.Compare(laptop.ID[:], twin.ID[:]) > 0 {
		pair = []Device{twin, laptop}
	}
	man("two devices with one signing key", resign(first, labelManifest, identity, func(b []byte) []byte {
		b[at+48] = 2
		b = b[:at+49]
		for _, d := range pair {
			e := cryptobyte.NewBuilder(b)
			addDevice(e, d)
			b = e.BytesOrPanic()
		}
		return b
	}))
	man("a signing key of small order", resign(first, labelManifest, identity, edit(at+49, append([]byte{1}, make([]byte, 31)...)...)))
	man("an exchange key of small order", resign(first, labelManifest, identity, edit(at+49+32, make([]byte, 32)...)))
	man("an exchange key with the top bit set", resign(first, labelManifest, identity, func(b []byte) []byte { b[at+49+63] |= 0x80; return b }))
	man("a name that turns the direction of writing", resign(first, labelManifest, identity, edit(at+49+65, 0xe2, 0x80, 0xae)))
	man("a name that begins with a space", resign(first, labelManifest, identity, edit(at+49+65, ' ')))

	pre := func(name string, encoded []byte, when time.Time) {
		p, err := ParsePrekey(encoded)
		if err == nil {
			err = p.Verify(dev.Public(), laptop.ID, alice, when)
		}
		refuse("prekey", name, text(encoded), err == nil)
	}
	change := func(b []byte, i int, v byte) []byte { c := bytes.Clone(b); c[i] = v; return c }
	pre("another kind of the same length", change(spk, 1, 3), now)
	pre("kind 0", change(spk, 1, 0), now)
	pre("kind 5", change(spk, 1, 5), now)
	pre("another id", change(spk, 5, 8), now)
	pre("id 0", change(spk, 5, 0), now)
	pre("another expiry", change(spk, 13, spk[13]^1), now)
	pre("a byte less", spk[:len(spk)-1], now)
	pre("a byte more", append(bytes.Clone(spk), 0), now)
	pre("a KEM key with a coefficient of q", func() []byte { c := bytes.Clone(kem); c[14], c[15] = 0x01, c[15]&0xf0|0x0d; return c }(), now)
	late := Prekey{Kind: SignedExchange, ID: 7, Exchange: m.exchange(8), Expires: now.Add(PrekeyLifetime + PrekeySkew + time.Second)}
	pre("expires more than 46 days after now", must[[]byte](m.t)(must[Prekey](m.t)(SignPrekey(dev, laptop.ID, alice, late)).Marshal()), now)
	past := Prekey{Kind: SignedExchange, ID: 7, Exchange: m.exchange(8), Expires: now.Add(-time.Second)}
	pre("expired a second ago", must[[]byte](m.t)(must[Prekey](m.t)(SignPrekey(dev, laptop.ID, alice, past)).Marshal()), now)
	pre("of a device with another exchange key", must[[]byte](m.t)(must[Prekey](m.t)(SignPrekey(dev, key.NewDeviceID(dev.Public(), m.exchange(5)), alice,
		Prekey{Kind: SignedExchange, ID: 7, Exchange: m.exchange(8), Expires: now})).Marshal()), now)

	state := func(name string, signed []byte) {
		body, sig, err := splitSignature(signed, MaxStatement)
		if err == nil {
			_, err = parseStatement(body)
		}
		refuse("statement", name, text(signed), err == nil && issuing.Public().Verify(signingInput(labelStatement, body), sig))
	}
	state("signature changed", change(statement, len(statement)-1, statement[len(statement)-1]^1))
	state("signed under another label", resign(statement, labelManifest, issuing, func(b []byte) []byte { return b }))
	state("a life of more than 7 days", resign(statement, labelStatement, issuing, func(b []byte) []byte { b[1+17+16+15]++; return b }))
	state("TLS keys in the other order", resign(statement, labelStatement, issuing, func(b []byte) []byte {
		n := len(b) - 33 - 64
		return append(append(append(b[:n:n], b[n+32:n+64]...), b[n:n+32]...), b[n+64:]...)
	}))
	state("a byte behind", resign(statement, labelStatement, issuing, func(b []byte) []byte { return append(b, 0) }))

	for name, s := range map[string]string{
		"upper case": "Alice@chat.example.com", "no domain": "alice", "a dot first": ".alice@chat.example.com", "a final dot": "alice@chat.example.com.",
		"a hyphen at the end of a label": "alice@chat-.example.com", "a last label of digits": "alice@chat.1", "33 bytes": "a23456789012345678901234567890123@x.org",
		"two @": "a@b@x.org", "an underscore first": "_a@x.org",
	} {
		_, err := ParseAddress(s)
		refuse("address", name, s, err == nil)
	}
	good := "secmsg://chat.example.com/join#AAECAwQFBgcICQoLDA0ODw.DQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0"
	if _, err := ParseInvite(good); err != nil {
		m.t.Error(err)
	}
	for name, s := range map[string]string{
		"upper case": "SECMSG" + good[6:], "another path": good[:26] + "link" + good[30:], "padding": good + "=", "a space": good + " ",
		"unused bits": good[:52] + "x" + good[53:], "port 0": "secmsg://chat.example.com:0/join" + good[30:], "a port with a leading zero": "secmsg://chat.example.com:08443/join" + good[30:],
	} {
		_, err := ParseInvite(s)
		refuse("invite", name, s, err == nil)
	}
	for name, s := range map[string]string{
		"unused bits": laptop.ID.String()[:25] + "b", "upper case": "A" + laptop.ID.String()[1:], "25 characters": laptop.ID.String()[:25],
	} {
		_, err := key.ParseDeviceID(s)
		refuse("device id", name, s, err == nil)
	}
	for name, s := range map[string]string{
		"order 1": "0100000000000000000000000000000000000000000000000000000000000000", "order 2": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"order 4": "0000000000000000000000000000000000000000000000000000000000000080", "order 8": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"y = p": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "y = p + 1": "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"no point": "0200000000000000000000000000000000000000000000000000000000000000", "31 bytes": "01000000000000000000000000000000000000000000000000000000000000",
	} {
		b := must[[]byte](m.t)(hex.DecodeString(s))
		_, err := key.ParseSigningPublic(b)
		refuse("signing key", name, s, err == nil)
	}
	for name, s := range map[string]string{
		"0": "0000000000000000000000000000000000000000000000000000000000000000", "order 8": "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"p": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "top bit": "0900000000000000000000000000000000000000000000000000000000000080",
	} {
		b := must[[]byte](m.t)(hex.DecodeString(s))
		_, err := key.ParseExchangePublic(b)
		refuse("exchange key", name, s, err == nil)
	}
	// S >= L: the signature of the empty message by seed 1, with L added to S.
	sig := identity.Sign(nil)
	malleable := addL(sig)
	refuse("signature of the empty message by identity seed 01..", "S + L", text(malleable), identity.Public().Verify(nil, malleable))
	sortObjects(out)
	return out
}

// addL adds the order of the group to the S of a signature.
func addL(sig []byte) []byte {
	l := []byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 31: 0x10}
	out, carry := bytes.Clone(sig), 0
	for i := range 32 {
		v := int(out[32+i]) + int(l[i]) + carry
		out[32+i], carry = byte(v), v>>8
	}
	return out
}

func TestVectors(t *testing.T) {
	path := filepath.Join("..", "testdata", "identity.json")
	b, err := json.MarshalIndent(vectorMaker{t}.make(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	if *update {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	frozen, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, frozen) {
		t.Error("the layouts differ from crypto/testdata/identity.json")
	}
}

// chainVector is one case of crypto/testdata/chains.json.
type chainVector struct {
	Name    string   `json:"name"`
	Root    string   `json:"root"` // DER, as all certificates here
	Chain   []string `json:"chain"`
	Address string   `json:"address"`
	Time    int64    `json:"time"`
	Result  string   `json:"result"` // ok, name, chain, expired, not yet valid
	Key     string   `json:"key,omitempty"`
}

// TestChainVectors checks the verification of certificate chains with frozen certificates. They contain
// random serial numbers, so they cannot be regenerated.
func TestChainVectors(t *testing.T) {
	path := filepath.Join("..", "testdata", "chains.json")
	if *update {
		b, err := json.MarshalIndent(makeChains(t), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var list []chainVector
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil || len(list) < 12 {
		t.Fatal(len(list), err)
	}
	der := func(s string) []byte { return must[[]byte](t)(hex.DecodeString(s)) }
	for _, v := range list {
		var chain [][]byte
		for _, c := range v.Chain {
			chain = append(chain, der(c))
		}
		got := ""
		root, err := ParseRoot(der(v.Root))
		if err == nil {
			var cert AccountCert
			cert, err = VerifyAccount(root, chain, must[Address](t)(ParseAddress(v.Address)), time.Unix(v.Time, 0))
			if err == nil && text(cert.Key.Bytes()) != v.Key {
				t.Errorf("%s: another key", v.Name)
			}
		}
		got = chainResult(err)
		if got != v.Result {
			t.Errorf("%s: %s (%v), want %s", v.Name, got, err, v.Result)
		}
	}
}
