package api

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"secmsg/rpc/wire"
	"secmsg/serverd/store"
)

// getContacts serves GET /v1/contacts, sorted by name.
func (a *API) getContacts(ctx context.Context, _ *empty) (*answer[wire.Contacts], error) {
	relations, err := a.opt.Store.Relations(ctx, callerOf(ctx).account)
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	out := wire.Contacts{Contacts: make([]wire.ContactEntry, 0, len(relations))}
	for _, name := range slices.Sorted(maps.Keys(relations)) {
		out.Contacts = append(out.Contacts, wire.ContactEntry{Name: name, Relation: wire.Relation(relations[name])})
	}
	return &answer[wire.Contacts]{out}, nil
}

type contactInput struct {
	Name string `path:"name" maxLength:"64" doc:"account name, the part before the @"`
	Body wire.PutContact
}

// putContact serves PUT /v1/contacts/{name}.
func (a *API) putContact(ctx context.Context, in *contactInput) (*empty, error) {
	c := callerOf(ctx)
	if in.Body.Relation != wire.RelationContact && in.Body.Relation != wire.RelationBlocked {
		return nil, refuse(wire.CodeMalformed, "relation: neither contact nor blocked")
	}
	if in.Name == c.account {
		return nil, refuse(wire.CodeMalformed, "name: an account cannot be its own contact")
	}
	// This route reveals whether a name exists, so it counts as a look-up.
	if _, err := a.lookup(ctx, c, in.Name); err != nil {
		return nil, err
	}
	relations, err := a.opt.Store.Relations(ctx, c.account)
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	if _, known := relations[in.Name]; !known && len(relations) >= a.opt.Limits.Contacts {
		return nil, refuse(wire.CodeQuota, "the list already has %d entries", len(relations))
	}
	return a.setRelation(ctx, c, in.Name, store.Relation(in.Body.Relation))
}

// deleteContact serves DELETE /v1/contacts/{name}. A name that is not in the list is no error; the
// answer reveals nothing about the account.
func (a *API) deleteContact(ctx context.Context, in *named) (*empty, error) {
	return a.setRelation(ctx, callerOf(ctx), in.Name, store.RelationNone)
}

func (a *API) setRelation(ctx context.Context, c caller, peer string, r store.Relation) (*empty, error) {
	if err := a.opt.Store.SetRelation(ctx, c.account, peer, r); err != nil {
		return nil, fmt.Errorf("write contact: %w", err)
	}
	if a.opt.Hooks.ContactsChanged != nil {
		a.opt.Hooks.ContactsChanged(c.account, peer)
	}
	return &empty{}, nil
}
