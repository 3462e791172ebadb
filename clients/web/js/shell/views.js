/** The views, in the order of the navigation. key: typed after G, it opens the view. */
export const VIEWS = [
  { name: "atlas", label: "Atlas", key: "a" },
  { name: "datasets", label: "Datasets", key: "d" },
  { name: "runs", label: "Runs", key: "r" },
  { name: "prompts", label: "Prompts", key: "p" },
  { name: "playground", label: "Playground", key: "y" },
  { name: "reports", label: "Reports", key: "o" },
];
