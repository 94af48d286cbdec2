// What the bridge adds to the page.

import type { Api } from '../preload/api.ts';

declare global {
  interface Window {
    readonly apicscope: Api;
    /** for tests: when nothing is pending any more */
    readonly __apicscope: { readonly idle: () => Promise<void> };
  }
}
