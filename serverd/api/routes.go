package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"secmsg/rpc/strict"
	"secmsg/rpc/wire"
)

// Paths that are served without the protocol header.
const (
	PathHealth  = "/healthz"
	PathOpenAPI = "/v1/openapi.json"
	PathRealm   = "/v1/realm"
)

// Bounds of request bodies in bytes. Prekey uploads may be as large as wire.MaxBody; everything else is
// small.
const (
	smallBody    = 1 << 10 // names, ids, nonce and signature
	manifestBody = 8 << 10 // a manifest of at most 2.5 KiB in base64, with room
	registerBody = 16 << 10
)

// maxDepth bounds the nesting of a request body; the deepest valid one has three levels.
const maxDepth = 8

// Route is a row of the router's table.
type Route struct {
	Method string
	Path   string // a pattern of net/http.ServeMux
	Auth   bool   // needs a token of role api
	Signed bool   // needs a ticket's signature in its query
}

// empty is the input or output of a route without one.
type empty struct{}

// answer is an output that consists of a body only.
type answer[T any] struct{ Body T }

// body is an input that consists of a body only.
type body[T any] struct{ Body T }

// build creates the router.
func (a *API) build() error {
	mux := http.NewServeMux()
	// The schema refuses unknown members, since huma first decodes into any.
	requests := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: func(data []byte, v any) error {
		return strict.Unmarshal(data, v, strict.Limits{Depth: maxDepth, Values: wire.MaxValues})
	}}
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "secmsg",
				Version:     fmt.Sprintf("%d", wire.ProtocolVersion),
				Description: "The REST API between devices and server. Byte strings are standard base64; crypto/SPEC.md defines the layouts of signed structures, rpc/PROTOCOL.md the protocol.",
			},
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"}},
			},
		},
		// "json" covers types that end in +json, as huma's own errors do before translate.
		Formats:                      map[string]huma.Format{"application/json": requests, "json": requests},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{translate},
	}
	h := humago.New(mux, config)
	a.register(h)
	if a.describeErr != nil {
		return a.describeErr
	}
	a.describeOthers(h.OpenAPI(), failureSchema(h))
	openAnswers(h.OpenAPI())
	schemas := h.OpenAPI().Components.Schemas.Map()
	delete(schemas, "ErrorModel") // huma's own errors, which translate replaces
	delete(schemas, "ErrorDetail")
	doc, err := json.MarshalIndent(h.OpenAPI(), "", "  ")
	if err != nil {
		return fmt.Errorf("api: describe: %w", err)
	}
	a.openapi = append(doc, '\n')
	a.plain(mux, PathOpenAPI, a.serveOpenAPI)
	a.plain(mux, PathHealth, a.serveHealth)
	if a.blobs != nil {
		if own, ok := a.blobs.Store.(http.Handler); ok {
			for _, method := range []string{http.MethodGet, http.MethodPut} {
				a.routes = append(a.routes, Route{Method: method, Path: wire.PathBlobData + "{id}", Signed: true})
				mux.Handle(method+" "+wire.PathBlobData+"{id}", own)
			}
		}
	}
	a.handler = a.Guard(a.front(mux))
	return nil
}

// register fills the router's table.
func (a *API) register(h huma.API) {
	open := func(method, path string, limit int64, summary string) huma.Operation {
		return operation(method, path, limit, false, summary)
	}
	auth := func(method, path string, limit int64, summary string) huma.Operation {
		return operation(method, path, limit, true, summary)
	}
	add(a, h, open("GET", PathRealm, 0, "Root, issuing certificate and realm statement"), a.getRealm)
	add(a, h, open("POST", "/v1/accounts", registerBody, "Register an account with an invite"), a.postAccount)
	add(a, h, open("POST", "/v1/challenges", smallBody, "Ask for a nonce to sign"), a.postChallenge)
	add(a, h, open("POST", "/v1/tokens", smallBody, "Exchange a signed nonce for a token"), a.postToken)
	add(a, h, auth("GET", "/v1/accounts/{name}", 0, "Certificate chain and newest manifest of an account"), a.getAccount)
	add(a, h, auth("GET", "/v1/accounts/{name}/manifests", 0, "Manifests after a version, oldest first"), a.getManifests)
	add(a, h, auth("POST", "/v1/accounts/{name}/bundles", manifestBody, "Prekeys of an account's devices; one-time keys are used up"), a.postBundles)
	add(a, h, auth("PUT", "/v1/manifest", manifestBody, "Replace the caller's manifest, compare-and-set on its hash"), a.putManifest)
	add(a, h, auth("POST", "/v1/certificate", 0, "The caller's certificate, reissued for the same key when it is due"), a.postCertificate)
	add(a, h, auth("GET", "/v1/prekeys", 0, "The calling device's stock of prekeys"), a.getPrekeys)
	add(a, h, auth("PUT", "/v1/prekeys", wire.MaxBody, "Add to or replace the calling device's prekeys"), a.putPrekeys)
	add(a, h, auth("GET", "/v1/contacts", 0, "The caller's contacts and blocks"), a.getContacts)
	add(a, h, auth("PUT", "/v1/contacts/{name}", smallBody, "Make an account a contact or block it"), a.putContact)
	add(a, h, auth("DELETE", "/v1/contacts/{name}", 0, "Remove an account from the list"), a.deleteContact)
	if a.opt.Turn != nil {
		add(a, h, auth("POST", "/v1/turn", 0, "Media servers, and credentials to relay calls through them"), a.postTurn)
	}
	if a.blobs == nil {
		return
	}
	add(a, h, auth("POST", "/v1/blobs", createBlobBody, "Begin an upload and say who may fetch it"), a.postBlob)
	add(a, h, auth("GET", "/v1/blobs", 0, "The caller's blob usage and limits"), a.getBlobUsage)
	add(a, h, auth("GET", "/v1/blobs/{id}", 0, "State of one of the caller's blobs, with its stored parts"), a.getBlob)
	add(a, h, auth("POST", "/v1/blobs/{id}/tickets", ticketsBody, "Reserve parts and get URLs for uploading them"), a.postBlobTickets)
	add(a, h, auth("POST", "/v1/blobs/{id}/complete", wire.MaxBody, "Combine the parts into one blob"), a.postBlobComplete)
	add(a, h, auth("POST", "/v1/blobs/{id}/download", 0, "Get a URL to fetch a blob from"), a.postBlobDownload)
	add(a, h, auth("DELETE", "/v1/blobs/{id}", 0, "Delete one of the caller's blobs or uploads"), a.deleteBlob)
}

// operation describes a route. limit bounds its body in bytes.
func operation(method, path string, limit int64, auth bool, summary string) huma.Operation {
	op := huma.Operation{
		OperationID: operationID(method, path),
		Method:      method, Path: path, Summary: summary,
		MaxBodyBytes: limit + 1, // huma refuses a body that reaches the limit
	}
	if auth {
		op.Security = []map[string][]string{{"token": {}}}
	}
	return op
}

// operationID names a route in the OpenAPI document, such as get-v1-accounts-name.
func operationID(method, path string) string {
	clean := strings.NewReplacer("/v1/", "-", "/", "-", "{", "", "}", "").Replace(path)
	return strings.ToLower(method) + clean
}

// add registers a handler with its authentication, error mapping and limits.
func add[I, O any](a *API, h huma.API, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	auth := len(op.Security) > 0
	a.routes = append(a.routes, Route{Method: op.Method, Path: op.Path, Auth: auth})
	op.BodyReadTimeout = a.opt.Limits.Body
	op.Middlewares = huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) { next(plainStatus{ctx}) }}
	if auth {
		op.Middlewares = append(op.Middlewares, a.authenticate)
	}
	op.DefaultStatus = http.StatusOK
	if reflect.TypeFor[O]() == reflect.TypeFor[empty]() {
		op.DefaultStatus = http.StatusNoContent
	}
	if err := describeRoute(&op, failureSchema(h), auth); err != nil && a.describeErr == nil {
		a.describeErr = err
	}
	huma.Register(h, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, a.toResponse(ctx, err)
		}
		return out, nil
	})
}

// failureSchema is the schema of the body of failed calls.
func failureSchema(h huma.API) *huma.Schema {
	return h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[wire.ErrorBody](), true, "ErrorBody")
}

// plain registers a GET route outside of huma.
func (a *API) plain(mux *http.ServeMux, path string, h http.HandlerFunc) {
	a.routes = append(a.routes, Route{Method: http.MethodGet, Path: path})
	mux.HandleFunc("GET "+path, h)
}

func (a *API) serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+json")
	_, _ = w.Write(a.openapi) // an error means that the client is gone
}

func (a *API) serveHealth(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if a.opt.Healthy != nil {
		if err := a.opt.Healthy(r.Context()); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("unavailable\n"))
			return
		}
	}
	text := "ok\n"
	if a.opt.Warnings != nil {
		for _, warning := range a.opt.Warnings() {
			text += "warning: " + warning + "\n"
		}
	}
	_, _ = w.Write([]byte(text))
}
