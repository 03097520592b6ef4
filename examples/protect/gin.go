package protect

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/seed-926035fd/authz"
)

// Gin protects all routes of an engine, and asks for scopes where they are needed.
func Gin(protect func(http.Handler) http.Handler) http.Handler {
	e := gin.New()
	e.Use(WrapGin(protect))
	e.GET("/user", helloGin)
	e.POST("/repos", WrapGin(authz.RequireScopes("repo")), helloGin)
	return e
}

func helloGin(c *gin.Context) {
	a, _ := authz.FromContext(c.Request.Context())
	c.String(http.StatusOK, "hello, %s", a.Owner)
}

// WrapGin makes a middleware of gin from one of net/http.
func WrapGin(mw func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		mw(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r // its context says who it is
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort() // or gin would go on to the next handler
		}
	}
}
