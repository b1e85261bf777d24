// Logs in and hands the answer to the client that opened this page.
const form = document.querySelector("form");
const problem = document.querySelector("[role=alert]");

function finish(answer) {
  if (window.matrixLogin && typeof window.matrixLogin.onLogin === "function") {
    window.matrixLogin.onLogin(answer);
  } else if (typeof window.onLogin === "function") {
    window.onLogin(answer);
  }
  form.hidden = true;
  document.querySelector("#done").hidden = false;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.textContent = "";
  const asked = new URLSearchParams(window.location.search);
  const body = {
    type: "m.login.password",
    identifier: { type: "m.id.user", user: form.elements.user.value },
    password: form.elements.password.value,
  };
  for (const name of ["device_id", "initial_device_display_name"]) {
    if (asked.has(name)) {
      body[name] = asked.get(name);
    }
  }
  try {
    const response = await fetch("/_matrix/client/v3/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const answer = await response.json();
    if (response.ok) {
      finish(answer);
    } else {
      problem.textContent = answer.error || "That did not work.";
    }
  } catch {
    problem.textContent = "The server cannot be reached.";
  }
});
