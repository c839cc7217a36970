package e2e

import "testing"

// TestStack goes through one running demo, in this order.
func TestStack(t *testing.T) {
	t.Run("the processes have certificates", firstSerials)
	t.Run("a deep link leads through the sign-on and back", deepLink)
	t.Run("a second tool asks for no password", singleSignOn)
	t.Run("a tool that is not allowed says so, and who to tell", notAllowed)
	t.Run("the door lists what each person may open", portal)
	t.Run("signing out at the door closes the tools", signOut)
	t.Run("the identity provider lets one change the user", changeUser)
	t.Run("a background request gets 401 and JSON", background)
	t.Run("a WebSocket works", webSocket)
	t.Run("an event stream works", eventStream)
	t.Run("no spelling of a header makes somebody else of alice", spoofed)
	t.Run("a response is good once and in one browser", replayed)
	t.Run("a sidecar lets in the gateway and nobody else", sidecarStrangers)
	t.Run("Vault restarts and nobody notices", vaultRestart)
	t.Run("a demo that cannot start says why", refusesToStart)
	t.Run("a second demo runs beside the first", secondDemo)
	t.Run("a demo can be stopped while it starts", stoppedWhileStarting)
	t.Run("a demo that is killed leaves nothing", killedOutright)
	t.Run("a bad network to Vault goes unnoticed", badNetwork)
	t.Run("certificates are renewed", renewal)
	t.Run("the access log is whole", accessLogIsWhole)
	t.Run("the demo stops and leaves nothing", stops)
	t.Run("the logs are clean", logsAreClean)
}
