package main

// reasons say why a target is missed, by its key. They are written by hand, and
// shown only while it is.
var reasons = map[string]string{
	"http/hello/32 " + byHand: "The middleware joins its answers to the request (a context and a copy of the request, two allocations more) and looks at scheme, form and checksum first; the rounds lie on both sides of the line.",
	"http/put/32 " + byJSON: "The floor knows no users, no apps and no deadlines. What stands above it is the sum of many small things, none over a sixth: the Manager with its candidate token (a quarter), " +
		"the context and the read deadline of each request (a sixth), the body, read strictly (a seventh), and the answer, indented as GitHub's is.",
	"sqlite/create/1 " + byManager: "The SELECT that finds nothing comes before the INSERT (some 20 µs), and the write has a goroutine of its own, so that a caller can leave while another process holds the lock.",
	"sqlite/create/64 " + byManager: "The table has seven indexes, one of them in random order: a loop that does nothing but insert, 64 rows in each transaction, reached 7 to 8 times the single inserts " +
		"(27 to 32 k rows/s, a trial), so 10 is beyond this schema. Each batch holds about half of the callers, as the others are being answered while it runs.",
	"postgres/verify/1 " + byManager:   "Two subqueries more than raw, for the app and for suspension (some 5 µs), and a goroutine of its own for the statement, since lib/pq can block past any deadline: it must be possible to leave it behind.",
	"postgres/verify/32 " + byManager:  sharedReads,
	"postgres/verify/64 " + byManager:  sharedReads,
	"postgres/existing/1 " + byManager: "A goroutine of its own for the statement, since lib/pq can block past any deadline: it must be possible to leave it behind.",
	"postgres/create/1 " + byManager:   "Two round trips, the SELECT that finds nothing and the INSERT: to begin with the INSERT would write a row version for each existing authorization that is asked for. 0.6 is allowed.",
	"postgres/create/64 " + byManager:  "A creation is two shared statements, and the server's work for a row with its seven indexes is the same in both: it has most of the two processors that client and server share.",
	"cache/memory/1 " + beyondRecord:   "96 are the entry without its hash: what each hit judges by, apart from the record; 16 the text of a header that the middleware need not join again; the rest is otter's.",
	"storm/logins/64 " + stormHeap: "A hash takes 19 MiB, and the next one 19 MiB more, until a collection comes: late, while hashes have all processors. It is bounded by the pace of collections, not by the callers; " +
		"GOMEMLIMIT bounds it to what a host likes, and with a processor spared it was less.",
	"storm/logins/64 " + stormDue: "By default account hashes on all processors at once: a call that is due waits until the scheduler takes one away from a hash, which is 10 ms at least. " +
		"account.Config.MaxHashes below GOMAXPROCS leaves one free: see the second table of storm.",
}

const sharedReads = "Client and server share two processors: the rows must be read from the wire (22 columns of text) and each caller woken, which is some 12 µs of this process for each call against 25 of raw, " +
	"and about 6 µs of the server's. A batch holds about a third of the callers, as nobody waits for company."

func reason(key string) string {
	if why, ok := reasons[key]; ok {
		return why
	}
	return "Nobody has said why yet."
}
