/** Switches of the pages of L1 that vmcs02 points to: mapped for a run of L2, or kept in caches. */
import { onOff, type Switch } from '../switch.ts';

export const pageSwitches = [
  {
    id: 'l1-pages',
    values: ['host_map', 'gpc'],
    since: 'gpc: patch 4/5 of the series of September 2025 (not merged)',
    races: ['R61', 'R76', 'R78', 'R85'],
    summary:
      'how KVM holds the APIC pages of L1 for L2: mapped and unmapped around every run of L2, or in caches that the MMU notifier invalidates',
  },
  {
    id: 'nested-context-table',
    values: ['off', 'on'],
    since: 'v4 of the series (gpc-v4)',
    races: ['R82', 'R83'],
    summary: 'each vmcs12 keeps its caches in a table of the VM; off, the vCPU has one set for all',
  },
  {
    id: 'vtpr-late-check',
    values: ['off', 'on'],
    since: 'base of gpc-v4: module option warn_on_missed_cc, off by default',
    races: [],
    summary:
      'an entry into L2 compares VTPR with the TPR threshold once the page is at hand; off, only the CPU does',
  },
  {
    id: 'evmcs-gpc',
    values: ['off', 'on'],
    since: 'patch 7/10 of v4 of the series (gpc-v4)',
    races: ['R88'],
    summary:
      'an enlightened VMCS is kept in a cache whose lock is held around each copy; off, it is mapped once',
  },
  {
    id: 'hostmap-pin',
    values: ['on', 'reference', 'off'],
    since: 'FOLL_PIN since v6.13; a reference before',
    races: ['R85'],
    summary:
      'a page that is mapped for L2 is pinned, or has an ordinary reference; off, nothing holds it',
  },
  {
    id: 'allow_unsafe_mappings',
    values: ['off', 'on'],
    since: 'v6.13; kernels before it had no such gate: on',
    races: ['R86'],
    summary: 'memory without struct page, which nothing pins, may be mapped with kvm_vcpu_map',
  },
  {
    id: 'dirty-vmcs12-pages',
    values: onOff,
    since: 'long-standing; fixes 7afe79f5734a, c9d7134679eb',
    races: ['R87'],
    summary: 'an exit of L2 marks the pages that the CPU wrote through vmcs02 as dirty',
  },
  {
    id: 'dirty-mapped-pages',
    values: onOff,
    since: 'c9d7134679eb and siblings, v7.0 cycle',
    races: ['R87'],
    summary:
      'what is marked dirty is what is mapped, the APIC-access page too; off, the addresses in vmcs12',
  },
  {
    id: 'gpc-mn-count-check',
    values: onOff,
    since: '58cd407ca4c6, v6.0',
    races: ['R70', 'R71'],
    summary: 'the refresh of a cache tries again while mn_active_invalidate_count is not 0',
  },
  {
    id: 'gpc-seq-check',
    values: onOff,
    since: '58cd407ca4c6, v6.0',
    races: ['R70'],
    summary: 'the refresh of a cache tries again if mmu_invalidate_seq has changed',
  },
  {
    id: 'gpc-refresh-mutex',
    values: onOff,
    since: '93984f19e7bc, v6.0',
    races: ['R73'],
    summary: 'refreshes of one cache exclude each other',
  },
  {
    id: 'gpc-active-after-list',
    values: onOff,
    since: 'ecbcf030b456, v6.1',
    races: ['R72'],
    summary:
      'a cache is on the list of the MMU notifier before it is active; off, when it is mapped already',
  },
  {
    id: 'gpc-invalid-before-unlock',
    values: onOff,
    since: '58cd407ca4c6, v6.0',
    races: ['R74'],
    summary: 'a cache is invalid while its refresh looks the frame up without the lock',
  },
  {
    id: 'gpc-no-pin',
    values: onOff,
    since: '85165781c5d9',
    races: [],
    summary: 'a cache holds no reference to its frame; off, the frame cannot migrate',
  },
  {
    id: 'gpc-use-under-lock',
    values: onOff,
    since: 'since the rwlock of the cache',
    races: ['R75'],
    summary:
      'whoever uses the mapping of a cache holds its lock; off, only the check is made under it',
  },
  {
    id: 'gpc-vcpu-kick',
    values: onOff,
    since: 'removed a4bff3df5147, restored by patch 2 of the series',
    races: ['R76'],
    summary:
      'invalidating a cache whose address a vCPU has in its VMCS makes that vCPU leave the guest',
  },
  {
    id: 'gpc-kick-wait',
    values: onOff,
    since: 'patch 2 of the series',
    races: ['R84'],
    summary: 'the invalidation waits until that vCPU has left the guest',
  },
  {
    id: 'gpc-final-check',
    values: onOff,
    since: 'patches 3 and 4 of the series (gpc-v1)',
    races: ['R76'],
    summary:
      'the last check before an entry into L2 looks for caches that are active and not valid',
  },
  {
    id: 'gpc-deactivate-on-fail',
    values: onOff,
    since: 'patch 4 of the series',
    races: ['R77'],
    summary:
      'a cache that cannot be mapped is given up, so that the last check does not stumble over it',
  },
  {
    id: 'gpc-rewrite-on-refresh',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: ['R78'],
    summary: 'a refresh by an event callback makes GET_NESTED_STATE_PAGES, so that vmcs02 follows',
  },
  {
    id: 'gpc-nosleep-in-block',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: ['R80'],
    summary: 'a vCPU that is about to sleep goes back to RUNNING before it refreshes a cache',
  },
  {
    id: 'gpc-generation-in-final-check',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: ['R81'],
    summary: 'the last check also compares the memslots generation of the caches in use',
  },
  {
    id: 'gpc-deactivate-unused',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: ['R58'],
    summary: 'the caches of controls that vmcs12 does not use are given up',
  },
  {
    id: 'gpc-ctx-exclusive',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: ['R82', 'R83'],
    summary: 'a context belongs to one vCPU; who gets none uses caches of its own',
  },
  {
    id: 'unmap-on-failed-entry',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: ['R61'],
    summary: 'an entry into L2 that fails behind the mapping unmaps the pages',
  },
  {
    id: 'reget-restores-controls',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: ['R63'],
    summary: 'getting the pages again sets the controls again that their lack had cleared',
  },
] as const satisfies readonly Switch[];
