package routers

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// GinRoot serves the API at the root, beside other routes.
func GinRoot(api http.Handler) http.Handler {
	e := gin.New()
	for _, path := range Paths {
		e.Any(path, gin.WrapH(api))
		e.Any(path+"/*path", gin.WrapH(api))
	}
	return e
}

// GinPrefix serves the API below a prefix that it knows: Any keeps the path.
func GinPrefix(api http.Handler) http.Handler {
	e := gin.New()
	e.Any(Prefix+"/*path", gin.WrapH(api))
	e.Any(WellKnown+Prefix, gin.WrapH(api))
	return e
}

// GinStripped serves the API in a group, whose prefix it does not know.
func GinStripped(api http.Handler) http.Handler {
	e := gin.New()
	group := e.Group(Prefix)
	group.Any("/*path", gin.WrapH(http.StripPrefix(group.BasePath(), api)))
	return e
}
