package authz

import (
	_ "embed"
	"net/http"
)

//go:embed docs/openapi.yaml
var openAPIDocument []byte

// OpenAPI returns the description of the HTTP API as an OpenAPI 3.1 document in
// YAML. The caller owns the bytes. See also HandlerConfig.OpenAPI.
func OpenAPI() []byte { return append([]byte(nil), openAPIDocument...) }

// openAPI answers GET /openapi.yaml.
func (h *handler) openAPI(w *response, _ *http.Request) {
	w.freshBody("application/yaml", openAPIDocument) // RFC 9512
}
