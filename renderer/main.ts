// Starts the window's application.

import '@fontsource-variable/inter/standard.css';
import '@fontsource/jetbrains-mono/400.css';
import '@fontsource/jetbrains-mono/700.css';
import '@vscode/codicons/dist/codicon.css';
import 'dockview-vue/dist/styles/dockview.css';
import './theme/tokens.css';
import './theme/base.css';
import './theme/dock.css';
import { createPinia } from 'pinia';
import { createApp } from 'vue';
import App from './App.vue';
import { idle } from './stores/requests.ts';

createApp(App).use(createPinia()).mount('#app');
Object.defineProperty(window, '__apicscope', { value: { idle } });
