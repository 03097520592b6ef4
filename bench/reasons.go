package main

// reasons say why a target is missed, by its key. They are written by hand, and
// shown only while it is.
var reasons = map[string]string{
	"http/put/32 " + byJSON: "The body is read three times: for keys that are there twice, which encoding/json does not report, as fields, and field by field, each with an answer of its own to what is wrong; " +
		"the answer is indented, as GitHub's is. 259 allocations stand beside 44.",
	"cache/memory/1 " + beyondRecord: "96 are the entry without its hash: what each hit judges by, apart from the record; 16 the text of a header that the middleware need not join again; the rest is otter's.",
	"storm/logins/64 " + stormDue: "By default account hashes on all processors at once: a call that is due waits until the scheduler takes one away from a hash, which is 10 ms at least. " +
		"account.Config.MaxHashes below GOMAXPROCS leaves one free: see the second table of storm.",
}

func reason(key string) string {
	if why, ok := reasons[key]; ok {
		return why
	}
	return "Nobody has said why yet."
}
