// What the terminal asks for while a command works: to come to an end.

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Calls `cancel` at the first signal; a second one ends the program. The function that is returned
 * ends the listening.
 */
export function hearSignals(cancel: () => void): () => void {
  const heard = (): void => {
    forget();
    cancel();
  };
  const forget = (): void => {
    for (const signal of signals) process.off(signal, heard);
  };
  for (const signal of signals) process.on(signal, heard);
  return forget;
}
