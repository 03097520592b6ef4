package routers

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// EchoRoot serves the API at the root, beside other routes.
func EchoRoot(api http.Handler) http.Handler {
	e := echo.New()
	for _, path := range Paths {
		e.Any(path, echo.WrapHandler(api))
		e.Any(path+"/*", echo.WrapHandler(api))
	}
	return e
}

// EchoPrefix serves the API below a prefix that it knows: Any keeps the path.
func EchoPrefix(api http.Handler) http.Handler {
	e := echo.New()
	e.Any(Prefix+"/*", echo.WrapHandler(api))
	e.Any(WellKnown+Prefix, echo.WrapHandler(api))
	return e
}

// EchoStripped serves the API in a group, whose prefix it does not know.
func EchoStripped(api http.Handler) http.Handler {
	e := echo.New()
	e.Group(Prefix).Any("/*", echo.WrapHandler(http.StripPrefix(Prefix, api)))
	return e
}
