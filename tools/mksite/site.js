// A button that copies a code block, where the browser lets a page do so.
if (navigator.clipboard) {
  for (const pre of document.querySelectorAll("main pre")) {
    const box = document.createElement("div");
    const button = document.createElement("button");
    box.className = "code";
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(pre.textContent);
      button.textContent = "Copied";
    });
    pre.replaceWith(box);
    box.append(pre, button);
  }
}

// The menu of a narrow window closes behind a link into the same page.
for (const menu of document.querySelectorAll(".menu")) {
  menu.addEventListener("click", (event) => {
    if (event.target.closest("a")) {
      menu.open = false;
    }
  });
}
