package api

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"secmsg/rpc/wire"
)

// routeText is the OpenAPI text of a route, apart from its summary.
type routeText struct {
	text    string
	success string      // describes the response
	codes   []wire.Code // its errors, apart from those of every route
}

// routeTexts returns the text of each route, by method and path. New fails if a route has none.
func routeTexts() map[string]routeText {
	return map[string]routeText{
		"GET /v1/realm": {
			"The first request on each connection: the response proves that the server belongs to the pinned realm (rpc/PROTOCOL.md, section 1). No protocol header is needed.",
			"the proof of the realm", nil,
		},
		"POST /v1/accounts": {
			"Consumes one use of the invite. Repeating the call with the same token and keys gives the same answer, so a lost answer does no harm. Every invite that does not work gets the same answer.",
			"the certificate of the new account", []wire.Code{wire.CodeInvite, wire.CodeNameTaken, wire.CodeRateLimited, wire.CodeTooLarge},
		},
		"POST /v1/challenges": {
			"The nonce is valid for one minute and for one POST /v1/tokens. The answer is the same for names and devices that do not exist.",
			"a nonce", []wire.Code{wire.CodeRateLimited, wire.CodeTooLarge},
		},
		"POST /v1/tokens": {
			"Every failed login, including one with unknown names, is answered unauthorized. Only a client that signs with the device's key gets revoked or suspended.",
			"a token for one role", []wire.Code{wire.CodeUnauthorized, wire.CodeRevoked, wire.CodeSuspended, wire.CodeRateLimited, wire.CodeTooLarge},
		},
		"GET /v1/accounts/{name}": {
			"Names that are new to the caller count as look-ups. Clients must check the answer against the root and the pinned identity key.",
			"the account", []wire.Code{wire.CodeNotFound, wire.CodeRateLimited},
		},
		"GET /v1/accounts/{name}/manifests": {
			"At most 50; ask again with the version of the last one.",
			"later manifests, oldest first", []wire.Code{wire.CodeNotFound, wire.CodeRateLimited},
		},
		"POST /v1/accounts/{name}/bundles": {
			"The body is an object, {} for all devices. A device without a valid signed prekey or KEM prekey is left out. One-time keys in the answer are used up. The account may be the caller's own.",
			"prekeys to begin sessions with", []wire.Code{wire.CodeNotFound, wire.CodeForbidden, wire.CodeRateLimited, wire.CodeTooLarge},
		},
		"PUT /v1/manifest": {
			"Compare-and-set: previous must be the hash of the newest manifest, and the version must be one higher. Repeating the newest manifest succeeds. A device id that was ever used cannot be added.",
			"stored", []wire.Code{wire.CodeConflict, wire.CodeRateLimited, wire.CodeTooLarge},
		},
		"POST /v1/certificate": {
			"Returns the stored certificate, or a new one for the same key once two thirds of its lifetime have passed.",
			"the certificate", nil,
		},
		"GET /v1/prekeys": {"Expired keys do not count.", "the stock", nil},
		"PUT /v1/prekeys": {
			"All keys must be valid and signed by the calling device, or the whole upload is refused. More than 100 one-time keys of a kind in one call are refused (quota); keys beyond a stock of 100 are left out. An id uploaded before keeps its first key, used or not. The response lists the stored ids.",
			"the stock after the upload", []wire.Code{wire.CodeQuota, wire.CodeTooLarge},
		},
		"GET /v1/contacts": {"The relay enforces this list.", "the whole list", nil},
		"PUT /v1/contacts/{name}": {
			"Names that are new to the caller count as look-ups. The list has at most 10,000 entries.",
			"stored", []wire.Code{wire.CodeNotFound, wire.CodeQuota, wire.CodeRateLimited, wire.CodeTooLarge},
		},
		"DELETE /v1/contacts/{name}": {"A name that is not in the list is no error.", "removed", nil},
		"POST /v1/turn": {
			"Devices ask for each call and each ICE restart. not_found: this server has no media server.",
			"credentials, for at most 10 minutes", []wire.Code{wire.CodeNotFound, wire.CodeRateLimited},
		},
		"POST /v1/blobs": {
			"A declared size is reserved at once; without one, each part is reserved with its ticket. An upload is dropped a day after its last ticket.",
			"the upload", []wire.Code{wire.CodeQuota, wire.CodeTooLarge, wire.CodeRateLimited},
		},
		"GET /v1/blobs": {
			"Bytes are reserved bytes. A deleted blob counts until the sweep that its deletion triggers.",
			"the caller's use and its bounds", nil,
		},
		"GET /v1/blobs/{id}": {"Only the owner may call it.", "the upload or blob", []wire.Code{wire.CodeNotFound}},
		"POST /v1/blobs/{id}/tickets": {
			"A reserved part keeps its size. Every part except the last has at least 5 MiB.",
			"tickets", []wire.Code{wire.CodeNotFound, wire.CodeConflict, wire.CodeQuota, wire.CodeTooLarge},
		},
		"POST /v1/blobs/{id}/complete": {
			"Repeating the call gives the same answer. Reservations beyond the named parts are released.",
			"the blob, complete", []wire.Code{wire.CodeNotFound, wire.CodeConflict, wire.CodeTooLarge},
		},
		"POST /v1/blobs/{id}/download": {
			"For the owner, and for readers whom the owner has not blocked. Everybody else gets not_found, as for an id that does not exist.",
			"the blob's URL", []wire.Code{wire.CodeNotFound},
		},
		"DELETE /v1/blobs/{id}": {"Afterwards nobody gets a ticket; the bytes are deleted with the next sweep.", "deleted", []wire.Code{wire.CodeNotFound}},
	}
}

// describeRoute fills in the texts of a registered operation.
func describeRoute(op *huma.Operation, failure *huma.Schema, auth bool) error {
	t, ok := routeTexts()[op.Method+" "+op.Path]
	if !ok {
		return fmt.Errorf("api: %s %s has no description", op.Method, op.Path)
	}
	op.Description = t.text
	codes := append([]wire.Code{wire.CodeMalformed, wire.CodeForbidden, wire.CodeVersion, wire.CodeUnavailable, wire.CodeInternal}, t.codes...)
	if auth {
		codes = append(codes, wire.CodeUnauthorized, wire.CodeSuspended)
	}
	op.Responses = map[string]*huma.Response{
		"default":                      failed(failure, codes),
		strconv.Itoa(op.DefaultStatus): {Description: t.success},
	}
	return nil
}

// failed describes the errors of a call.
func failed(schema *huma.Schema, codes []wire.Code) *huma.Response {
	codes = slices.Clone(codes)
	slices.SortFunc(codes, func(a, b wire.Code) int {
		return a.Status()*1000 - b.Status()*1000 + strings.Compare(string(a), string(b))
	})
	var list []string
	for _, c := range slices.Compact(codes) {
		list = append(list, fmt.Sprintf("%s (%d)", c, c.Status()))
	}
	return &huma.Response{
		Description: "failed: " + strings.Join(list, ", "),
		Content:     map[string]*huma.MediaType{"application/json": {Schema: schema}},
	}
}

// describeOthers adds the routes outside of huma: health, this document, the bytes of blobs, and the
// two WebSockets.
func (a *API) describeOthers(doc *huma.OpenAPI, failure *huma.Schema) {
	text := func(what string) map[string]*huma.MediaType {
		return map[string]*huma.MediaType{what: {Schema: &huma.Schema{Type: huma.TypeString}}}
	}
	get := func(path, summary, text string, responses map[string]*huma.Response) *huma.Operation {
		return &huma.Operation{OperationID: operationID(http.MethodGet, path), Method: http.MethodGet, Path: path, Summary: summary, Description: text, Responses: responses}
	}
	doc.AddOperation(get(PathHealth, "Health", "For monitors. Lines that begin with \"warning: \" follow ok.", map[string]*huma.Response{
		"200": {Description: "ok", Content: text("text/plain")}, "503": {Description: "unavailable", Content: text("text/plain")},
	}))
	doc.AddOperation(get(PathOpenAPI, "This document", "OpenAPI 3.1.", map[string]*huma.Response{
		"200": {Description: "the document", Content: map[string]*huma.MediaType{"application/openapi+json": {Schema: &huma.Schema{Type: huma.TypeObject}}}},
	}))
	for _, s := range []struct{ path, role, text string }{
		{"/v1/contact", "contact", "Sends envelopes, receives results and presence."},
		{"/v1/replica", "replica", "Receives envelopes."},
	} {
		op := get(s.path, "WebSocket of the role "+s.role, s.text+" HTTP/1.1 with Connection: Upgrade, Upgrade: websocket and Sec-WebSocket-Version: 13, "+
			"without extensions or subprotocol; frames are binary messages of wire.proto, at most 128 KiB (rpc/PROTOCOL.md, sections 3 to 5). The token has the role "+s.role+".",
			map[string]*huma.Response{
				"101":     {Description: "the WebSocket"},
				"default": failed(failure, []wire.Code{wire.CodeMalformed, wire.CodeForbidden, wire.CodeVersion, wire.CodeUnauthorized, wire.CodeUnavailable, wire.CodeRateLimited}),
			})
		op.Security = []map[string][]string{{"token": {}}}
		doc.AddOperation(op)
	}
	id := &huma.Param{Name: "id", In: "path", Required: true, Description: "the blob's id", Schema: &huma.Schema{Type: huma.TypeString}}
	bytes := map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
	refused := failed(failure, []wire.Code{wire.CodeTicket, wire.CodeSuspended, wire.CodeNotFound, wire.CodeConflict, wire.CodeMalformed, wire.CodeRateLimited, wire.CodeUnavailable, wire.CodeInternal})
	fetch := get(wire.PathBlobData+"{id}", "Bytes of a complete blob", "Only with the complete URL of a ticket, whose query is its signature; without token and protocol header. Supports one range (RFC 9110, section 14) and HEAD.",
		map[string]*huma.Response{
			"200": {Description: "all of it", Content: bytes}, "206": {Description: "the range", Content: bytes},
			"416": {Description: "no such range"}, "default": refused,
		})
	fetch.Parameters = []*huma.Param{id}
	doc.AddOperation(fetch)
	put := &huma.Operation{
		OperationID: operationID(http.MethodPut, wire.PathBlobData+"{id}"), Method: http.MethodPut, Path: wire.PathBlobData + "{id}", Summary: "Put a part",
		Description: "Only with the complete URL of a ticket. Content-Length must equal the ticket's size; Expect: 100-continue is supported. unavailable with status 507: the disk is full.",
		Parameters:  []*huma.Param{id}, RequestBody: &huma.RequestBody{Required: true, Description: "the part", Content: bytes},
		Responses: map[string]*huma.Response{
			"200":     {Description: "the part is durable", Headers: map[string]*huma.Param{"ETag": {Description: "names the part in POST complete", Schema: &huma.Schema{Type: huma.TypeString}}}},
			"default": refused,
		},
	}
	doc.AddOperation(put)
}

// openAnswers allows additional fields in the objects of responses: a later server may add some, and
// clients ignore fields that they do not know.
func openAnswers(doc *huma.OpenAPI) {
	schemas := doc.Components.Schemas
	asked := map[*huma.Schema]bool{}
	var mark func(s *huma.Schema)
	mark = func(s *huma.Schema) {
		if s != nil && s.Ref != "" {
			s = schemas.SchemaFromRef(s.Ref)
		}
		if s == nil || asked[s] {
			return
		}
		asked[s] = true
		mark(s.Items)
		for _, p := range s.Properties {
			mark(p)
		}
	}
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Put, path.Post, path.Delete} {
			if op == nil || op.RequestBody == nil {
				continue
			}
			for _, media := range op.RequestBody.Content {
				mark(media.Schema)
			}
		}
	}
	for _, s := range schemas.Map() {
		if !asked[s] && s.AdditionalProperties == false {
			s.AdditionalProperties = nil
		}
	}
}
