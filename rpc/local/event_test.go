package local

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hostileTimes are times that a peer, a server or a broken clock can cause, including those that RFC
// 3339 cannot represent.
func hostileTimes() []time.Time {
	var out []time.Time
	for _, ms := range []int64{0, -1, 1, 253402300799999, 253402300800000, -62135596800000, -62167219200001,
		math.MaxInt64, math.MinInt64, math.MaxInt64 / 1000, 1 << 53} {
		out = append(out, time.UnixMilli(ms))
	}
	return append(out, time.Time{}, time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -12*3600)))
}

// fill sets every field of v, the n-th time to the n-th hostile value of its kind.
func fill(t *testing.T, v reflect.Value, n int) {
	pick := func(len int) int { return n % len }
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i), n+i)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, n)
		fill(t, value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			times := hostileTimes()
			v.Set(reflect.ValueOf(times[pick(len(times))]))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(t, v.Field(i), n)
			}
		}
	case reflect.String:
		values := []string{"", "\xff\xfe", "\x00\x1b[2J", "\u2028\u202e</script>", strings.Repeat("x", 1000), "\ud7ff\ufffd"}
		v.SetString(values[pick(len(values))])
	case reflect.Int, reflect.Int64, reflect.Int32:
		values := []int64{0, -1, math.MaxInt32, math.MinInt32}
		if v.Kind() == reflect.Int64 {
			values = append(values, math.MaxInt64, math.MinInt64)
		}
		v.SetInt(values[pick(len(values))])
	case reflect.Uint64, reflect.Uint32, reflect.Uint8:
		values := []uint64{0, 1, math.MaxUint8}
		if v.Kind() == reflect.Uint64 {
			values = append(values, math.MaxUint64)
		}
		v.SetUint(values[pick(len(values))])
	case reflect.Float64: // values that are sent come from durations and are finite
		values := []float64{0, -1, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Copysign(0, -1)}
		v.SetFloat(values[pick(len(values))])
	case reflect.Bool:
		v.SetBool(n%2 == 0)
	default:
		t.Fatalf("no hostile value for a %s", v.Type())
	}
}

// Every event and answer that the encoder writes is accepted by its own decoder.
func TestEncodersAreReadBack(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Event](), reflect.TypeFor[Events](), reflect.TypeFor[SendResults](), reflect.TypeFor[Contacts](),
		reflect.TypeFor[Consumers](), reflect.TypeFor[PresenceList](), reflect.TypeFor[Status](), reflect.TypeFor[Devices](),
		reflect.TypeFor[Account](), reflect.TypeFor[CheckResult](), reflect.TypeFor[Failed](), reflect.TypeFor[Subscribed](),
		reflect.TypeFor[FileShown](), reflect.TypeFor[FileProgress](), reflect.TypeFor[FileGC](), reflect.TypeFor[Calls](),
		reflect.TypeFor[ReadResult](), reflect.TypeFor[Error](),
	} {
		for n := range 60 {
			in := reflect.New(typ)
			fill(t, in.Elem(), n)
			first, err := json.Marshal(in.Interface())
			if err != nil {
				t.Errorf("%s %d: encode: %v", typ, n, err)
				continue
			}
			out := reflect.New(typ)
			if err := json.Unmarshal(first, out.Interface()); err != nil {
				t.Errorf("%s %d: %v: %.200s", typ, n, err, first)
				continue
			}
			second, err := json.Marshal(out.Interface())
			if err != nil {
				t.Errorf("%s %d: encode again: %v", typ, n, err)
				continue
			}
			again := reflect.New(typ)
			if err := json.Unmarshal(second, again.Interface()); err != nil || !reflect.DeepEqual(again.Interface(), out.Interface()) {
				t.Errorf("%s %d: %v: wrote %.200s, then %.200s", typ, n, err, first, second)
			}
			if before, after := members(t, first), members(t, second); !slices.Equal(before, after) {
				t.Errorf("%s %d: the decoder lost members: %q, then %q", typ, n, before, after)
			}
		}
	}
}

// members are the paths of all members of a JSON text, sorted.
func members(t *testing.T, text []byte) []string {
	var top any
	if err := json.Unmarshal(text, &top); err != nil {
		t.Fatal(err)
	}
	var out []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				out = append(out, path+"/"+name)
				walk(path+"/"+name, member)
			}
		case []any:
			for i, element := range v {
				walk(path+"/"+strconv.Itoa(i), element)
			}
		}
	}
	walk("", top)
	slices.Sort(out)
	return out
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte(`{"seq":7,"id":"x","type":"message","time":"+10000-01-01T00:00:00.000Z"}`))
	f.Add([]byte(`{"seq":"7"}`))
	f.Add([]byte(`{"time":null,"message":{"text":"a","files":[{"size":1e3}]}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := DecodeEvent(in)
		if err != nil && (e.Type != TypeSystem || e.System == nil) {
			t.Fatalf("an unreadable value was decoded as %+v", e)
		}
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeEvent(b); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
	})
}

// A reader gets a system event instead of an unreadable one.
func TestUnreadableEventIsTold(t *testing.T) {
	e, err := DecodeEvent([]byte(`{"seq":7,"id":"x","type":"message","peer":"bob@x.example","time":"10000-01-01T00:00:00.000Z","message":{"text":"hi"}}`))
	if err == nil || e.Seq != 7 || e.ID != "x" || e.Type != TypeSystem || e.System == nil || e.Message != nil || e.Peer != "bob@x.example" {
		t.Errorf("%+v %v", e, err)
	}
}
