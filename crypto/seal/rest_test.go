package seal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"

	"secmsg/crypto/key"
)

// quick are parameters that do not slow a test down.
var quick = Argon2Params{Time: 1, Memory: 64, Threads: 1}

func TestStorage(t *testing.T) {
	k := NewStorageKey()
	cell := Cell{Table: "message", Column: "body", Row: []byte{1, 2, 3}}
	a, err1 := k.Seal(cell, []byte("hello"))
	b, err2 := k.Seal(cell, []byte("hello"))
	if err1 != nil || err2 != nil || len(a) != 5+StorageOverhead || bytes.Equal(a, b) {
		t.Fatalf("seal: %x, %x, %v, %v", a, b, err1, err2)
	}
	if got, err := k.Open(cell, a); err != nil || string(got) != "hello" {
		t.Fatalf("open: %q, %v", got, err)
	}
	for i := range a {
		bad := bytes.Clone(a)
		bad[i] ^= 1
		if _, err := k.Open(cell, bad); !errors.Is(err, ErrOpen) && !(i == 0 && errors.Is(err, ErrFormat)) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := k.Open(cell, a[:i]); err == nil {
			t.Errorf("cut to %d bytes: opened", i)
		}
	}
	if _, err := NewStorageKey().Open(cell, a); !errors.Is(err, ErrOpen) {
		t.Errorf("other key: %v", err)
	}
	again, err := ParseStorageKey(k.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	copied := again
	again.Wipe()
	if _, err := copied.Open(cell, a); !errors.Is(err, key.ErrNoKey) || copied.Bytes() != nil || !copied.IsZero() {
		t.Errorf("a copy has a secret after Wipe: %v", err)
	}
	if _, err := (StorageKey{}).Seal(cell, nil); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("zero key: %v", err)
	}
	StorageKey{}.Wipe()
	if _, err := ParseStorageKey(make([]byte, 31)); !errors.Is(err, ErrFormat) {
		t.Error("short key")
	}
	if _, err := k.Seal(Cell{Table: strings.Repeat("t", 256)}, nil); !errors.Is(err, ErrFormat) {
		t.Error("long table name")
	}
}

// Two cells never share associated data, wherever the borders between table, column and row are.
func TestCells(t *testing.T) {
	k, seen := NewStorageKey(), map[string]Cell{}
	for _, c := range []Cell{
		{}, {Table: "ab"}, {Table: "a", Column: "b"}, {Column: "ab"}, {Row: []byte("ab")},
		{Table: "a", Row: []byte("b")}, {Column: "a", Row: []byte("b")}, {Table: "a", Column: "b", Row: []byte{0}},
		{Table: "a\x01b"}, {Table: "a\x00", Column: "b"}, {Table: "a", Column: "\x00b"},
	} {
		ad, err := c.ad()
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[string(ad)]; ok {
			t.Errorf("%+v and %+v have the same associated data", c, other)
		}
		seen[string(ad)] = c
		sealed, err := k.Seal(c, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range seen {
			if _, err := k.Open(other, sealed); (err == nil) != reflect.DeepEqual(c, other) {
				t.Errorf("value of %+v in %+v: %v", c, other, err)
			}
		}
	}
}

func TestWrap(t *testing.T) {
	k, pass := NewStorageKey(), []byte("correct horse")
	wrapped, err := WrapStorageKey(k, pass, quick)
	if err != nil || len(wrapped) != WrappedSize {
		t.Fatalf("wrap: %d bytes, %v", len(wrapped), err)
	}
	got, err := UnwrapStorageKey(wrapped, pass)
	if err != nil || !bytes.Equal(got.Bytes(), k.Bytes()) {
		t.Fatalf("unwrap: %v", err)
	}
	for _, bad := range [][]byte{nil, []byte("Correct horse"), []byte("correct horse\n"), make([]byte, MaxPassphrase+1)} {
		if _, err := UnwrapStorageKey(wrapped, bad); !errors.Is(err, ErrPassphrase) {
			t.Errorf("passphrase %q: %v", bad, err)
		}
	}
	for i := range wrapped {
		bad := bytes.Clone(wrapped)
		bad[i] ^= 1
		got, err := UnwrapStorageKey(bad, pass)
		if err == nil || !got.IsZero() {
			t.Errorf("byte %d changed: unwrapped", i)
		}
		if i >= wrapHead && !errors.Is(err, ErrOpen) {
			t.Errorf("byte %d changed: %v, want ErrOpen", i, err)
		}
	}
	if _, err := WrapStorageKey(k, nil, quick); !errors.Is(err, ErrFormat) {
		t.Errorf("empty passphrase: %v", err)
	}
	if _, err := WrapStorageKey(StorageKey{}, pass, quick); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("zero key: %v", err)
	}
}

// Parameters in the file cannot make unlocking use up all memory or take for ever: each of these would,
// if it reached Argon2id.
func TestWrapBounds(t *testing.T) {
	pass := []byte("p")
	wrapped, err := WrapStorageKey(NewStorageKey(), pass, quick)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Argon2Params{
		{}, {Time: 0, Memory: 64, Threads: 1}, {Time: 1<<32 - 1, Memory: 64, Threads: 1},
		{Time: maxArgonTime + 1, Memory: 64, Threads: 1}, {Time: 1, Memory: maxArgonMemory + 1, Threads: 1},
		{Time: 1, Memory: 1<<32 - 1, Threads: 255}, {Time: 1, Memory: 64, Threads: 0},
		{Time: 1, Memory: 7, Threads: 1}, {Time: 1, Memory: 64, Threads: 9}, {Time: 1, Memory: 1024, Threads: 65},
	} {
		bad := bytes.Clone(wrapped)
		binary.BigEndian.PutUint32(bad[1:], p.Time)
		binary.BigEndian.PutUint32(bad[5:], p.Memory)
		bad[9] = p.Threads
		if _, err := UnwrapStorageKey(bad, pass); !errors.Is(err, ErrFormat) {
			t.Errorf("%+v: unwrap says %v", p, err)
		}
		if _, err := WrapStorageKey(NewStorageKey(), pass, p); !errors.Is(err, ErrFormat) {
			t.Errorf("%+v: wrap says %v", p, err)
		}
	}
	if err := DefaultArgon2Params().check(); err != nil {
		t.Error(err)
	}
}

// The vector of RFC 9106, section 5.3 has a secret and associated data, which x/crypto does not
// support. This vector is the reference implementation's for "password", "somesalt".
func TestArgon2id(t *testing.T) {
	got := hex.EncodeToString(argon2.IDKey([]byte("password"), []byte("somesalt"), 2, 65536, 1, 32))
	if want := "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"; got != want {
		t.Errorf("argon2id gives %s, want %s", got, want)
	}
}

func TestQueue(t *testing.T) {
	priv, err := GenerateQueue()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ParseQueuePublic(priv.Public().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	cell := Cell{Table: "outbox", Column: "body", Row: []byte("id")}
	sealed, err := pub.Seal(cell, []byte("hello"))
	if err != nil || len(sealed) != 5+QueueOverhead {
		t.Fatalf("seal: %d bytes, %v", len(sealed), err)
	}
	again, err := ParseQueueSeed(priv.Seed())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(cell, sealed); err != nil || string(got) != "hello" {
		t.Fatalf("open: %q, %v", got, err)
	}
	if _, err := priv.Open(Cell{Table: "outbox", Column: "body", Row: []byte("ID")}, sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("other cell: %v", err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := priv.Open(cell, bad); err == nil {
			t.Errorf("byte %d changed: opened", i)
		}
	}
	for _, n := range []int{0, 1, QueueOverhead - 1, len(sealed) - 1} {
		if _, err := priv.Open(cell, sealed[:n]); err == nil {
			t.Errorf("cut to %d bytes: opened", n)
		}
	}
	priv.Wipe()
	if _, err := priv.Open(cell, sealed); !errors.Is(err, key.ErrNoKey) || priv.Seed() != nil || priv.Public().Bytes() != nil {
		t.Errorf("wiped key: %v", err)
	}
	if _, err := (QueuePublic{}).Seal(cell, nil); !errors.Is(err, key.ErrNoKey) {
		t.Errorf("zero key: %v", err)
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := ParseQueueSeed(make([]byte, n)); !errors.Is(err, ErrFormat) {
			t.Errorf("seed of %d bytes: %v", n, err)
		}
		if _, err := ParseQueuePublic(make([]byte, n)); !errors.Is(err, ErrFormat) {
			t.Errorf("public key of %d bytes: %v", n, err)
		}
	}
	if _, err := ParseQueuePublic(bytes.Repeat([]byte{0xff}, QueuePublicSize)); !errors.Is(err, ErrFormat) {
		t.Errorf("public key above the modulus: %v", err)
	}
	QueuePrivate{}.Wipe()
}

func TestRedaction(t *testing.T) {
	secret := []byte("CANARY-canary-CANARY-canary-1234")
	storage, err1 := ParseStorageKey(secret)
	queue, err2 := ParseQueueSeed(secret)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	type holder struct {
		s StorageKey
		q *QueuePrivate
	}
	for _, v := range []any{storage, &storage, queue, &queue, holder{storage, &queue}} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%c", "%U", "%t", "%e"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		data, _ := json.Marshal(v) // an error is also fine
		out.Write(data)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "k", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "k", v)
		got := strings.ToLower(out.String())
		for _, form := range []string{"canary", hex.EncodeToString([]byte("canary")), "67 65 78", "99 97 110", "0x43, 0x41", "c a n a"} {
			if strings.Contains(got, form) {
				t.Errorf("%T shows a secret: %s", v, got)
			}
		}
		if reflect.TypeOf(v).Kind() == reflect.Struct && reflect.TypeOf(v).Comparable() {
			t.Errorf("%T is comparable", v)
		}
	}
}

func FuzzUnwrap(f *testing.F) {
	// The same key in every process of the fuzzer.
	k, err := ParseStorageKey(bytes.Repeat([]byte{1}, StorageKeySize))
	if err != nil {
		f.Fatal(err)
	}
	wrapped, err := WrapStorageKey(k, []byte("p"), Argon2Params{Time: 1, Memory: 8, Threads: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wrapped)
	f.Add(make([]byte, WrappedSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == WrappedSize {
			// Valid, but too slow for a fuzzer: bound time and memory further.
			b = bytes.Clone(b)
			copy(b[1:8], []byte{0, 0, 0, 1, 0, 0, 0})
		}
		got, err := UnwrapStorageKey(b, []byte("p"))
		if err == nil && !bytes.Equal(got.Bytes(), k.Bytes()) {
			t.Errorf("unwrapped another key from %x", b)
		}
	})
}

func FuzzOpenSealed(f *testing.F) {
	k := NewStorageKey()
	queue, err := GenerateQueue()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add(append([]byte{version}, make([]byte, 100)...))
	f.Add(append([]byte{version}, make([]byte, QueueOverhead)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := k.Open(Cell{}, b); err == nil {
			t.Errorf("opened cell %x", b)
		}
		if _, err := queue.Open(Cell{}, b); err == nil {
			t.Errorf("opened queue entry %x", b)
		}
	})
}
