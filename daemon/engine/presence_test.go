package engine

import (
	"errors"
	"testing"
	"time"

	"secmsg/rpc/local"
)

func TestPresenceTellsNewsOnly(t *testing.T) {
	p := newPresence()
	early, late := local.Time{Time: time.Unix(1000, 0)}, local.Time{Time: time.Unix(2000, 0)}
	if _, news, _ := p.set("bob", local.Presence{}); news || p.mutual("bob") {
		t.Error("a peer that has not accepted is news")
	}
	if _, news, _ := p.set("bob", local.Presence{Mutual: true, Online: true, LastSeen: late}); !news || !p.mutual("bob") {
		t.Error("an acceptance is no news")
	}
	kept, news, _ := p.set("bob", local.Presence{Mutual: true, Online: true, LastSeen: early})
	if news || kept.LastSeen != late {
		t.Errorf("news: %v; last seen %v: the server has forgotten, this device has not", news, kept.LastSeen)
	}
	_, news, undo := p.set("bob", local.Presence{Mutual: true})
	if !news {
		t.Error("a peer that left is no news")
	}
	undo()
	if !p.states["bob"].Online {
		t.Error("undo does not restore the state")
	}
	_, _, undo = p.set("carol", local.Presence{Mutual: true})
	undo()
	if _, known := p.states["carol"]; known {
		t.Error("undo does not forget a new peer")
	}
	if kept, _, _ := p.set("bob", local.Presence{}); !kept.LastSeen.IsZero() {
		t.Error("a peer that is not mutual keeps its last time seen")
	}
}

func TestPresenceSubscribesOncePerConnection(t *testing.T) {
	p := newPresence()
	set, due := p.begin([]string{"bob"}, 1)
	if !due || !p.busy {
		t.Fatal("nothing to subscribe")
	}
	p.end(set, 1, errors.New("no"))
	if set, due = p.begin([]string{"bob"}, 1); !due {
		t.Error("a subscription that failed counts")
	}
	p.end(set, 1, nil)
	if _, due := p.begin([]string{"bob"}, 1); due || p.busy {
		t.Error("the same accounts are subscribed twice")
	}
	if set, due = p.begin([]string{"bob", "carol"}, 1); !due {
		t.Error("a new contact is not subscribed")
	}
	p.end(set, 1, nil)
	if set, due = p.begin([]string{"carol"}, 1); !due {
		t.Error("a removed contact stays subscribed")
	}
	p.end(set, 1, nil)
	p.connected()
	if _, due := p.begin([]string{"carol"}, 2); !due {
		t.Error("a new connection has no subscription")
	}
}

func TestRelationsBackOff(t *testing.T) {
	cfg := Config{}.withDefaults()
	r := relations{busy: true}
	if d := r.end(cfg, errors.New("away")); !near(d, cfg.BackoffMin) || r.busy {
		t.Errorf("after a failure: %v, busy %v", d, r.busy)
	}
	if d := r.end(cfg, errors.New("away")); !near(d, 2*cfg.BackoffMin) {
		t.Errorf("after the second: %v", d)
	}
	if d := r.end(cfg, nil); d != 0 || r.tries != 0 {
		t.Errorf("after a success: %v, %d tries", d, r.tries)
	}
}
