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

	"secmsg/crypto/key"
)

var update = flag.Bool("update", false, "write new vectors")

// seed makes the 32-byte seed of a vector's key.
func seed(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

// The layouts of SPEC.md are frozen: testdata/identity.json was computed by a
// second implementation, in Python and from the specification alone.
func TestVectors(t *testing.T) {
	path := filepath.Join("..", "testdata", "identity.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	signing := func(n byte) key.SigningPrivate { return must[key.SigningPrivate](t)(key.ParseSigningSeed(seed(n))) }
	exchange := func(n byte) key.ExchangePublic {
		return must[key.ExchangePrivate](t)(key.ParseExchangePrivate(seed(n))).Public()
	}
	identity, dev := signing(1), signing(2)
	devices := []Device{
		{Signing: dev.Public(), Exchange: exchange(4), Name: "laptop", Added: now},
		{Signing: signing(3).Public(), Exchange: exchange(5), Name: "Büro", Added: now.Add(60e9)},
	}
	for i := range devices {
		devices[i].ID = key.NewDeviceID(devices[i].Signing, devices[i].Exchange)
	}
	m := Manifest{Address: alice, Version: 2, Previous: [32]byte(seed(9)), Devices: devices, Time: now.Add(60e9)}
	manifest := must[[]byte](t)(m.Sign(identity))
	hash := ManifestHash(manifest)
	prekey := must[Prekey](t)(SignPrekey(dev, devices[0].ID, alice,
		Prekey{Kind: SignedExchange, ID: 7, Exchange: exchange(8), Expires: now.Add(PrekeyLifetime)}))
	statement := RealmStatement{
		Domain: alice.Domain, Entry: []string{"chat.example.com:8443", "[2001:db8::1]"},
		TLSKeys: [][sha256.Size]byte{[32]byte(seed(2)), [32]byte(seed(1))}, Epoch: [EpochSize]byte(seed(11)),
		LogKey: signing(12).Public(), Issued: now, Expires: now.Add(StatementLifetime),
	}
	token := must[InviteToken](t)(InviteTokenFromBytes([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}))
	tokenHash := token.Hash()
	number := must[SafetyNumber](t)(NewSafetyNumber(alice, identity.Public(), bob, signing(7).Public()))

	got := map[string]string{
		"device_id":     devices[0].ID.String(),
		"fingerprint":   identity.Public().Fingerprint(),
		"manifest":      hex.EncodeToString(manifest),
		"manifest_hash": hex.EncodeToString(hash[:]),
		"prekey":        hex.EncodeToString(must[[]byte](t)(prekey.Marshal())),
		"registration": hex.EncodeToString(must[[]byte](t)(Registration{
			Address: alice, Identity: identity.Public(), Exchange: exchange(4),
		}.Sign(dev))),
		"challenge": hex.EncodeToString(must[[]byte](t)(Challenge{
			Address: alice, Device: devices[0].ID, Role: "replica", Nonce: seed(10),
		}.Sign(dev))),
		"statement": hex.EncodeToString(must[[]byte](t)(statement.Sign(&Authority{Key: signing(6)}))),
		"invite": must[string](t)(Invite{
			Addr: alice.Domain, Token: token, Fingerprint: Fingerprint(seed(13)),
		}.URI()),
		"invite_hash":   hex.EncodeToString(tokenHash[:]),
		"safety_number": number.String(),
		"safety_qr":     hex.EncodeToString(number.QR()),
	}
	if *update {
		b := append(must[[]byte](t)(json.MarshalIndent(got, "", "  ")), '\n')
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		want = got
	}
	for name, v := range got {
		if v != want[name] {
			t.Errorf("%s:\n got %s\nwant %s", name, v, want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d values, %d vectors", len(got), len(want))
	}
}
