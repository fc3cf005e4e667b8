package media_test

import (
	"log/slog"
	"testing"

	"secmsg/serverd/media"
)

func TestQuick(t *testing.T) {
	s, err := media.New(media.Options{Realm: "x", Listen: "127.0.0.1:0", Loopback: true, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Test(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("%+v %v", s.Status(), s.Counters())
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
