package e2e

import "testing"

// TestStack goes through one running demo, in this order.
func TestStack(t *testing.T) {
	t.Run("a deep link leads through the sign-on and back", deepLink)
	t.Run("a second tool asks for no password", singleSignOn)
	t.Run("a tool that is not allowed says so, and who to tell", notAllowed)
	t.Run("the door lists what each person may open", portal)
	t.Run("signing out at the door closes the tools", signOut)
	t.Run("the identity provider lets one change the user", changeUser)
	t.Run("a background request gets 401 and JSON", background)
	t.Run("a WebSocket works", webSocket)
	t.Run("an event stream works", eventStream)
}
