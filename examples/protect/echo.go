package protect

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/seed-926035fd/authz"
)

// Echo protects all routes of a router, and asks for scopes where they are needed.
func Echo(protect func(http.Handler) http.Handler) http.Handler {
	e := echo.New()
	e.Use(echo.WrapMiddleware(protect))
	e.GET("/user", helloEcho)
	e.POST("/repos", helloEcho, echo.WrapMiddleware(authz.RequireScopes("repo")))
	return e
}

func helloEcho(c echo.Context) error {
	a, _ := authz.FromContext(c.Request().Context())
	return c.String(http.StatusOK, "hello, "+a.Owner)
}
